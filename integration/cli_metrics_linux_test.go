package integration

// What Prometheus is told by the program as it is built: the figures, their form, and
// whether Prometheus itself, its rules and the dashboard can use them.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// monitoring holds the alert rules and the dashboard.
const monitoring = module + "/cmd/runtimegc/monitoring"

// samples is one exposition: each sample by its name and labels, as it is written.
type samples map[string]float64

// parseSamples reads the text format. A line that is no comment ends with the value.
func parseSamples(t *testing.T, text string) samples {
	t.Helper()
	s := make(samples)
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("no sample: %q", line)
		}
		if _, twice := s[line[:at]]; twice {
			t.Errorf("%s is there twice", line[:at])
		}
		s[line[:at]] = value
	}
	return s
}

// names returns the names of the samples without labels.
func (s samples) names() map[string]bool {
	names := make(map[string]bool)
	for key := range s {
		name, _, _ := strings.Cut(key, "{")
		names[name] = true
	}
	return names
}

// startMeasured starts a watch that serves metrics on a port of its own, and returns
// the URL.
func startMeasured(t *testing.T, root string, args ...string) (w *watchProcess, url string) {
	t.Helper()
	w = startWatch(t, root, append([]string{"--metrics-listen", "127.0.0.1:0"}, args...)...)
	address, _ := w.next("metrics.listening", "").fields["address"].(string)
	if !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("it listens on %q", address)
	}
	return w, "http://" + address
}

// get returns the body of what url answers with 200.
func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", url, resp.Status, err, text)
	}
	return string(text)
}

// promtool runs it, with text as its input.
func promtool(t *testing.T, text string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool, of Debian's package prometheus, is not here")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("FAILED")) {
		t.Errorf("promtool %q: %v\n%s\n%s", args, err, out, text)
	}
}

// mustTellNothing fails the test if an exposition has what it must not: a sidecar's
// content, or what a daemon is called, its pid, its dir.
func mustTellNothing(t *testing.T, text, root string, daemons ...*daemon) {
	t.Helper()
	checkSecrets(t, "the metrics", text)
	ours := regexp.MustCompile(`(?m)^runtimegc_\S+`).FindAllString(text, -1)
	for _, sample := range ours {
		_, labels, _ := strings.Cut(sample, "{")
		for _, label := range regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(labels, -1) {
			if label[1] == "root" && label[2] != root {
				t.Errorf("the label root is not the root: %s", sample)
			}
			for _, d := range daemons {
				if label[2] == d.name || label[2] == strconv.Itoa(d.pid) || strings.Contains(label[2], d.dir) {
					t.Errorf("%s tells of a daemon", sample)
				}
			}
		}
	}
	if len(ours) == 0 {
		t.Error("nothing of ours is told")
	}
}

// A life of several daemons, as the metrics have it; served and in the textfile alike.
func TestMetrics(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	s := newSpawner(t, root)
	s.dead("locked", 7*time.Hour)
	flockShared(t, s.dir("locked"))
	s.dead("recent", time.Hour)
	s.dead("due", 7*time.Hour)
	s.leave("invalid", []byte("{"+secret), "")
	was := s.spawn("was-there")

	// No sweep but those asked for: one may find a birth before its event, which is then not timed.
	w, server := startMeasured(t, root, "--sweep-interval", "1h", "--metrics-textfile", file)
	removed := w.next("daemon.removed", "due")
	w.next("daemon.kept", "locked")
	w.next("sweep.done", "")
	born := s.spawn("born")
	w.next("daemon.live", "born")
	ended := s.spawn("ended")
	w.next("daemon.live", "ended")
	ended.kill()
	w.next("daemon.exited", "ended")
	noError(t, w.cmd.Process.Signal(syscall.SIGUSR1))
	w.next("sweep.done", "")
	text := get(t, server+"/metrics")
	got := parseSamples(t, text)
	want := samples{
		`runtimegc_daemons{root="ROOT",state="alive"}`:      2,
		`runtimegc_daemons{root="ROOT",state="dead"}`:       3,
		`runtimegc_daemons{root="ROOT",state="unknown"}`:    0,
		`runtimegc_daemons{root="ROOT",state="invalid"}`:    1,
		`runtimegc_births_total{root="ROOT"}`:               3,
		`runtimegc_exits_total{root="ROOT"}`:                1,
		`runtimegc_removed_total{root="ROOT"}`:              1,
		`runtimegc_removed_bytes_total{root="ROOT"}`:        float64(removed.number("bytes")),
		`runtimegc_failed_total{root="ROOT"}`:               0,
		`runtimegc_kept_total{reason="locked",root="ROOT"}`: 1, // said once, counted once
		`runtimegc_kept_total{reason="in_use",root="ROOT"}`: 0,
		`runtimegc_event_overflows_total{root="ROOT"}`:      0,
		`runtimegc_resyncs_total{root="ROOT"}`:              0,
		`runtimegc_watch_degraded{root="ROOT"}`:             0,
		`runtimegc_polled_dirs{root="ROOT"}`:                0,

		`runtimegc_notice_latency_seconds_count{event="daemon.live",root="ROOT"}`:   2, // not the one found
		`runtimegc_notice_latency_seconds_count{event="daemon.exited",root="ROOT"}`: 1,
	}
	for sample, value := range want {
		if v, ok := got[strings.Replace(sample, "ROOT", root, 1)]; !ok || v != value {
			t.Errorf("%s is %v, %v, want %v", sample, v, ok, value)
		}
	}
	for _, least := range []string{"refreshed_total", "sweep_duration_seconds_count", "sweep_duration_seconds_sum", "events_total", "dir_reads_total"} {
		if v := got["runtimegc_"+least+`{root="`+root+`"}`]; v <= 0 {
			t.Errorf("%s is %v", least, v)
		}
	}
	if at := got[`runtimegc_last_sweep_timestamp_seconds{root="`+root+`"}`]; time.Since(time.UnixMilli(int64(at*1000))).Abs() > 2*patience {
		t.Errorf("last swept at %v", at)
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds", "runtimegc_build_info"} {
		if !got.names()[name] {
			t.Errorf("no %s", name)
		}
	}
	mustTellNothing(t, text, root, was, born, ended)

	last := w.stop(syscall.SIGTERM)
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	final := parseSamples(t, string(written))
	for sample, value := range want {
		if v, ok := final[strings.Replace(sample, "ROOT", root, 1)]; !ok || v != value {
			t.Errorf("in the textfile %s is %v, %v, want %v", sample, v, ok, value)
		}
	}
	if n := final[`runtimegc_refreshed_total{root="`+root+`"}`]; n != float64(last.number("refreshed")) {
		t.Errorf("%v refreshed in the textfile, %d in the log: it was not written at the end", n, last.number("refreshed"))
	}
	mustTellNothing(t, string(written), root, was, born, ended)
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("beside the textfile there are %v, %v", left, err)
	}
	t.Run("promtool on what is served", func(t *testing.T) { promtool(t, text, "check", "metrics") })
	t.Run("promtool on the textfile", func(t *testing.T) { promtool(t, string(written), "check", "metrics") })
}

// Lost events are a figure, too.
func TestMetricsOfAnOverflow(t *testing.T) {
	root := memoryRoot(t)
	w, server := startMeasured(t, root)
	w.next("sweep.done", "") // so the root is watched
	pause(t, w, func() { flood(t, root) })
	w.next("registry.resynced", "")
	got := parseSamples(t, get(t, server+"/metrics"))
	for _, name := range []string{"runtimegc_event_overflows_total", "runtimegc_resyncs_total"} {
		said := len(w.all("events.overflow", ""))
		if v := got[name+`{root="`+root+`"}`]; v < 1 || v > float64(said) {
			t.Errorf("%s is %v, and the log tells of %d", name, v, said)
		}
	}
	w.stop(syscall.SIGTERM)
}

// A pass tells of itself: for those who run it by cron.
func TestMetricsOfPrune(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	d := s.dead("due", 7*time.Hour)
	live := s.spawn("live")
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	run(t, "prune", "--root", root, "--metrics-textfile", file).must(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := parseSamples(t, string(text))
	want := samples{"removed_total": 1, "failed_total": 0, "births_total": 1, "sweep_duration_seconds_count": 1}
	for sample, value := range want {
		if v, ok := got["runtimegc_"+sample+`{root="`+root+`"}`]; !ok || v != value {
			t.Errorf("%s is %v, %v, want %v", sample, v, ok, value)
		}
	}
	if got.names()["runtimegc_watch_degraded"] {
		t.Error("a pass tells of a watch")
	}
	mustTellNothing(t, string(text), root, d, live)
	t.Run("promtool", func(t *testing.T) { promtool(t, string(text), "check", "metrics") })

	// The pass is done, but whoever waits for its figures waits in vain.
	o := run(t, "prune", "--root", root, "--metrics-textfile", filepath.Join(root+"-none", "x.prom"))
	if o.code != 1 || !strings.Contains(o.stderr, "x.prom") || !strings.Contains(o.stdout, "1 scanned") {
		t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
	}
}

// An address that is taken is known at the start, not by a graph that stays empty.
func TestMetricsAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	o := run(t, "watch", "--root", runtimeRoot(t), "--metrics-listen", port)
	if o.code != 1 || !strings.Contains(o.stderr, "127.0.0.1:"+port) || !strings.Contains(o.stderr, "--metrics-listen") {
		t.Errorf("exit code %d, want 1; stderr:\n%s", o.code, o.stderr)
	}
	if strings.Contains(o.stderr, "watch.started") {
		t.Errorf("it began to watch:\n%s", o.stderr)
	}
}

// Without being asked to, it listens nowhere.
func TestNoMetricsUnlessAskedFor(t *testing.T) {
	t.Parallel()
	w := startWatch(t, runtimeRoot(t))
	w.next("sweep.done", "")
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	unix, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", w.cmd.Process.Pid))
	noError(t, err)
	for _, fd := range fds {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", w.cmd.Process.Pid, fd.Name()))
		inode, isSocket := strings.CutPrefix(to, "socket:[")
		// That of list and prune is no socket of a network.
		if err == nil && isSocket && !strings.Contains(string(unix), " "+strings.TrimSuffix(inode, "]")+" ") {
			t.Errorf("descriptor %s is a socket of a network", fd.Name())
		}
	}
	w.stop(syscall.SIGTERM)
	w.never("metrics.listening", "")
}

// An alert that cannot fire, or fires always, is worse than none.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	needSources(t)
	t.Run("check", func(t *testing.T) { promtool(t, "", "check", "rules", filepath.Join(monitoring, "alerts.yml")) })
	t.Run("test", func(t *testing.T) { promtool(t, "", "test", "rules", filepath.Join(monitoring, "alerts_test.yml")) })
}

// dashboardQueries returns the expressions of the dashboard, with its variables set to
// what Grafana would make of "all".
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title      string
		UID        string
		Templating struct {
			List []struct{ Name, Query any }
		}
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	noError(t, json.Unmarshal(text, &dashboard))
	if dashboard.Title == "" || dashboard.UID == "" || len(dashboard.Panels) == 0 {
		t.Errorf("no dashboard: %+v", dashboard)
	}
	known := map[string]string{"$__rate_interval": "1m"}
	for _, variable := range dashboard.Templating.List {
		known["$"+fmt.Sprint(variable.Name)] = ".*"
	}
	ids := make(map[int]bool)
	var queries []string
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %d %q: its id is another's, or it has no title or query", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			queries = append(queries, regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(target.Expr, func(v string) string {
				if known[v] == "" {
					t.Errorf("panel %q has the unknown variable %s", panel.Title, v)
				}
				return known[v]
			}))
		}
	}
	return queries
}

// ruleQueries returns the expressions of the alert rules, each on its lines.
func ruleQueries(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the dashboard and the rules ask for is what is told.
func TestDashboardAsksForWhatIsTold(t *testing.T) {
	t.Parallel()
	needSources(t)
	w, server := startMeasured(t, runtimeRoot(t))
	w.next("sweep.done", "")
	told := parseSamples(t, get(t, server+"/metrics")).names()
	w.stop(syscall.SIGTERM)
	asked := regexp.MustCompile(`\bruntimegc_\w+`).FindAllString(strings.Join(dashboardQueries(t), "\n")+ruleQueries(t), -1)
	if len(asked) < 20 {
		t.Errorf("asked for only %q", asked)
	}
	shown := make(map[string]bool)
	for _, name := range asked {
		shown[name] = true
		if !told[name] {
			t.Errorf("%s is asked for, but not told", name)
		}
	}
	for name := range told {
		base := strings.NewReplacer("_bucket", "", "_count", "", "_sum", "").Replace(name)
		if strings.HasPrefix(name, "runtimegc_") && !shown[name] && !shown[base+"_bucket"] {
			t.Errorf("%s is told, but on no panel and in no rule", name)
		}
	}
}

// Prometheus itself scrapes a watch, loads the rules and answers every query of the
// dashboard.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	needSources(t)
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus, of Debian's package of that name, is not here")
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w, server := startMeasured(t, root, "--sweep-interval", "200ms")
	target := strings.TrimPrefix(server, "http://")
	rules, err := filepath.Abs(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	api := startPrometheus(t, path, fmt.Sprintf(`
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - job_name: runtimegc
    static_configs: [{targets: [%q]}]
`, rules, target))

	d := s.spawn("d")
	w.next("daemon.live", "d")
	daemondirtest.Eventually(t, "Prometheus has scraped that a daemon lives", func() bool {
		return vector(t, api, `runtimegc_daemons{state="alive"}`) == "1"
	})
	d.kill()
	w.next("daemon.exited", "d")
	daemondirtest.Eventually(t, "Prometheus has scraped that it lives no more", func() bool {
		return vector(t, api, `runtimegc_daemons{state="alive"}`) == "0" && vector(t, api, `runtimegc_exits_total`) == "1"
	})
	if up := vector(t, api, `up{job="runtimegc"}`); up != "1" {
		t.Errorf("up is %q", up)
	}
	for _, query := range dashboardQueries(t) {
		daemondirtest.Eventually(t, query, func() bool { return vector(t, api, query) != "" })
	}
	daemondirtest.Eventually(t, "Prometheus has evaluated the rules", func() bool {
		text := get(t, api+"/api/v1/rules")
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		noError(t, json.Unmarshal([]byte(text), &answer))
		healthy := 0
		for _, group := range answer.Data.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "err" {
					t.Fatalf("%s: %s", rule.Name, rule.LastError)
				}
				if rule.Health == "ok" {
					healthy++
				}
			}
		}
		return healthy >= 6
	})
	w.stop(syscall.SIGTERM)
	checkSecrets(t, "Prometheus", get(t, api+"/api/v1/series?match[]={job=\"runtimegc\"}"))
}

// startPrometheus runs one on the loopback until the test ends, and returns the URL.
func startPrometheus(t *testing.T, path, config string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	noError(t, os.WriteFile(file, []byte(config), 0o644))
	for range 5 {
		// It cannot say which port it was given, so it is told one that was free just now.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		var out bytes.Buffer
		cmd := exec.Command(path, "--config.file="+file, "--web.listen-address="+address,
			"--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn")
		cmd.Dir = dir
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		noError(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
			if t.Failed() {
				t.Logf("Prometheus said:\n%s", &out)
			}
		})
		gone := false
		daemondirtest.Eventually(t, "Prometheus is ready", func() bool {
			select {
			case <-ended:
				gone = true
				return true
			default:
			}
			resp, err := (&http.Client{Timeout: patience}).Get("http://" + address + "/-/ready")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		if !gone {
			return "http://" + address
		}
		if !strings.Contains(out.String(), "address already in use") {
			t.Fatalf("Prometheus has ended:\n%s", &out)
		}
	}
	t.Fatal("no port for Prometheus")
	return ""
}

// vector returns the first value that a query has now, or nothing.
func vector(t *testing.T, api, query string) string {
	t.Helper()
	var answer struct {
		Status string
		Data   struct {
			Result []struct{ Value [2]any }
		}
	}
	text := get(t, api+"/api/v1/query?query="+url.QueryEscape(query))
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v\n%s", query, err, text)
	}
	if len(answer.Data.Result) == 0 {
		return ""
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1])
}
