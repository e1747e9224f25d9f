package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/watcher"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// eventually waits for the end state that ok tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Without a host only this machine may ask; whoever wants more must say so.
func TestListenAddress(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"9100", "127.0.0.1:9100"},
		{":9100", "127.0.0.1:9100"},
		{"0", "127.0.0.1:0"},
		{"0.0.0.0:9100", "0.0.0.0:9100"},
		{"[::]:9100", "[::]:9100"},
		{"[::1]:9100", "[::1]:9100"},
		{"localhost:9100", "localhost:9100"},
		{"", ""},
	} {
		var a listenAddress
		if err := a.Set(row.text); err != nil || string(a) != row.want {
			t.Errorf("%q is %q, %v, want %q", row.text, a, err, row.want)
		}
	}
	for _, wrong := range []string{"x", ":", ":http", "localhost", "127.0.0.1:", "65536", "-1", "::1", "1:2:3", "[::1]", "http://localhost:9100", " 9100"} {
		a := listenAddress("as it was")
		if err := a.Set(wrong); err == nil || a != "as it was" {
			t.Errorf("%q: %v, %q", wrong, err, a)
		}
	}
}

// A textfile in the root would be an event there at every sweep, whatever way it is
// named.
func TestTextfileIsKeptOutOfTheRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "runtime")
	if err := os.MkdirAll(filepath.Join(root, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": root, "deep": filepath.Join(root, "a"), "out.prom": filepath.Join(root, "a", "x.prom")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	for _, row := range []struct {
		path, root string
		refused    bool
	}{
		{"runtime/x.prom", "runtime", true},
		{"runtime/a/x.prom", "runtime", true},
		{"runtime/not/yet/x.prom", "runtime", true},
		{"link/x.prom", "runtime", true},
		{"runtime/x.prom", "link", true},
		{"deep/x.prom", "runtime", true},
		{"other/../runtime/x.prom", "runtime", true},
		{"missing/x.prom", "missing", true},
		{"x.prom", "runtime", false},
		{"runtime-metrics/x.prom", "runtime", false},
		{"x.prom", "missing", false},
		{"out.prom", "runtime", false}, // the link is what is replaced
		{"x.txt", "runtime", true},
	} {
		_, err := checkTextfile(filepath.Join(dir, row.path), filepath.Join(dir, row.root))
		if (err != nil) != row.refused {
			t.Errorf("%s with the root %s: %v, want refused: %v", row.path, row.root, err, row.refused)
		}
	}
}

// testMetrics returns metrics of a collector and a watcher that have seen nothing yet,
// for each root.
func testMetrics(t *testing.T, o metricsOptions, roots ...string) *metrics {
	t.Helper()
	m, err := o.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	for _, root := range roots {
		reg := registry.New()
		told := m.root(root)
		opts := prune.Options{Root: root, Registry: reg}
		told.hook(&opts)
		collector, err := prune.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		watch, err := watcher.New(watcher.Options{Root: root, Registry: reg})
		if err != nil {
			t.Fatal(err)
		}
		if err := told.expose(collector, watch); err != nil {
			t.Fatal(err)
		}
		collector.Sweep(t.Context(), nil)
		opts.Noticed("daemon.live", time.Millisecond)
	}
	return m
}

// Labels are few and of few values, or Prometheus drowns: none is made of what a daemon
// is called, and a root's path is as harmless as in the log.
func TestLabels(t *testing.T) {
	evil := "/root\n\"\xff"
	m := testMetrics(t, metricsOptions{textfile: "unused"}, evil, "/other")
	families, err := m.withProcess().Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string][]string)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "runtimegc_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			hasRoot := false
			for _, label := range metric.GetLabel() {
				hasRoot = hasRoot || label.GetName() == "root"
				if !slices.Contains(values[label.GetName()], label.GetValue()) {
					values[label.GetName()] = append(values[label.GetName()], label.GetValue())
				}
			}
			if !hasRoot && family.GetName() != "runtimegc_build_info" {
				t.Errorf("%s does not say of which root it is", family.GetName())
			}
		}
	}
	for name, most := range map[string]int{"root": 2, "state": 4, "reason": 9, "event": 2, "version": 1, "goversion": 1} {
		if len(values[name]) != most {
			t.Errorf("label %s has values %q, want %d", name, values[name], most)
		}
		delete(values, name)
	}
	if len(values) > 0 {
		t.Errorf("unknown labels: %q", values)
	}
}

// One process has one registry, but no root twice.
func TestRootsAreToldApart(t *testing.T) {
	m := testMetrics(t, metricsOptions{textfile: "unused"}, "/a")
	told := m.root("/a")
	collector, err := prune.New(prune.Options{Root: "/a", Registry: registry.New()})
	if err != nil {
		t.Fatal(err)
	}
	if err := told.expose(collector, nil); err == nil {
		t.Error("one root is told of twice, and no error")
	}
}

// publish runs m until the returned function is called, which fails the test unless it
// then ends and leaves no goroutine behind.
func publish(t *testing.T, m *metrics, log io.Writer) (stop func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.publish(ctx, zerolog.New(log))
	}()
	stop = sync.OnceFunc(func() {
		t.Helper()
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
		eventually(t, "every goroutine has ended", func() bool { return runtime.NumGoroutine() <= before })
	})
	t.Cleanup(stop)
	return stop
}

// /metrics, read, is all there is to be had; scrapes do not disturb each other.
func TestMetricsServer(t *testing.T) {
	m := testMetrics(t, metricsOptions{listen: "127.0.0.1:0"}, "/a", "/b")
	var log lines
	stop := publish(t, m, &log)
	url := "http://" + m.listener.Addr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	do := func(method, path string) (int, string) {
		req, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(text)
	}
	for _, row := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/metrics", 200}, {"HEAD", "/metrics", 200},
		{"POST", "/metrics", 405}, {"DELETE", "/metrics", 405},
		{"GET", "/", 404}, {"GET", "/metrics/", 404}, {"GET", "/debug/pprof/", 404}, {"GET", "/debug/vars", 404},
	} {
		if code, _ := do(row.method, row.path); code != row.code {
			t.Errorf("%s %s: %d, want %d", row.method, row.path, code, row.code)
		}
	}
	var scrapes sync.WaitGroup
	for range 2 * maxScrapers {
		scrapes.Go(func() {
			code, text := do("GET", "/metrics")
			for _, want := range []string{
				`runtimegc_daemons{root="/a",state="alive"} 0`, `runtimegc_sweep_duration_seconds_count{root="/b"} 1`,
				`runtimegc_notice_latency_seconds_count{event="daemon.live",root="/b"} 1`,
				"go_goroutines", "\nruntimegc_build_info{",
			} {
				if code != 200 || !strings.Contains(text, want) {
					t.Errorf("%d, and no %s in\n%s", code, want, text)
				}
			}
		})
	}
	scrapes.Wait()
	stop()
	if conn, err := net.Dial("tcp", m.listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	if log.count("metrics.failed") != 0 {
		t.Error("the end of the server is said to be a failure")
	}
}

// counted is a listener that knows how many of its connections were open at a time.
type counted struct {
	net.Listener

	mu         sync.Mutex // guards open and most
	open, most int
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open++
		l.most = max(l.most, l.open)
		conn = &countedConn{Conn: conn, closed: sync.OnceFunc(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.open--
		})}
	}
	return conn, err
}

func (l *counted) counts() (open, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.most
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Clients that say nothing take up neither all descriptors nor the end of the watch, and
// they are cut off.
func TestStuckScrapers(t *testing.T) {
	m := testMetrics(t, metricsOptions{listen: "127.0.0.1:0"}, "/a")
	listener := &counted{Listener: m.listener}
	m.listener = listener
	stop := publish(t, m, io.Discard)
	began := time.Now()
	for range maxScrapers + 1 {
		conn, err := net.Dial("tcp", m.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nX: ")
	}
	eventually(t, "as many are connected as may be", func() bool { open, _ := listener.counts(); return open >= maxScrapers })
	url := "http://" + m.listener.Addr().String() + "/metrics"
	eventually(t, "one gets through that is not stuck", func() bool {
		resp, err := (&http.Client{Timeout: 20 * time.Second}).Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	if took := time.Since(began); took < readTimeout {
		t.Errorf("it got through after %v, so the others did not wait", took)
	}
	stop()
	if open, most := listener.counts(); open != 0 || most != maxScrapers {
		t.Errorf("%d connections were open at a time, want %d, and %d are", most, maxScrapers, open)
	}
}

// A file that cannot be written is said once, tried again at every sweep, and said once
// when it can be.
func TestTextfileTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "collector")
	file := filepath.Join(dir, "runtimegc.prom")
	m := testMetrics(t, metricsOptions{textfile: file}, "/a")
	var log lines
	stop := publish(t, m, &log)
	sweep := func() { m.swept <- struct{}{} } // there is one slot: of three, two were taken in
	for range 5 {
		sweep()
	}
	if n := log.count("metrics.failed"); n != 1 {
		t.Errorf("said %d times that there is no directory", n)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sweep()
	}
	eventually(t, "the file is there", func() bool { _, err := os.Stat(file); return err == nil })
	eventually(t, "a directory is in its place", func() bool { // another trouble
		return os.Remove(file) == nil && os.Mkdir(file, 0o755) == nil
	})
	for range 3 {
		sweep()
	}
	stop()
	if log.count("metrics.failed") != 2 || log.count("metrics.restored") != 1 {
		t.Errorf("the log has\n%s", log.text.String())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What is in the textfile is read together with what node_exporter says of itself, in
// one scrape: a metric that both have fails it.
func TestTextfileHasOnlyOurs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	m := testMetrics(t, metricsOptions{textfile: file}, "/a")
	if err := m.write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if !strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "runtimegc_") {
			t.Errorf("not ours: %s", line)
		}
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("node_exporter, another user, may not read it: %v, %v", info.Mode(), err)
	}
}

// Nobody asked: nothing is made, nothing is called.
func TestNoMetrics(t *testing.T) {
	m, err := metricsOptions{}.open(t.Context())
	if err != nil || m != nil {
		t.Fatalf("%v, %v", m, err)
	}
	told := m.root("/a")
	var opts prune.Options
	told.hook(&opts)
	if told != nil || opts.Swept != nil || opts.Noticed != nil {
		t.Error("somebody is told")
	}
	if err := told.expose(nil, nil); err != nil {
		t.Error(err)
	}
	m.publish(t.Context(), zerolog.Nop())
	if err := m.write(); err != nil {
		t.Error(err)
	}
	m.close()
}

// The library's own registry, which any package may add to, is not what is told.
func TestOwnRegistry(t *testing.T) {
	m := testMetrics(t, metricsOptions{textfile: "unused"})
	foreign := prometheus.NewCounter(prometheus.CounterOpts{Name: "foreign_total"})
	prometheus.MustRegister(foreign)
	defer prometheus.Unregister(foreign)
	families, err := m.withProcess().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "foreign_total" {
			t.Error("it is told")
		}
	}
}
