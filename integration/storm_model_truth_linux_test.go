package integration

// The end of a storm of a model, and the looks at it meanwhile: what the watch has logged,
// what its metrics say, and what a fresh process lists, against what the model knows.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// modelView is what the log says.
type modelView struct {
	said        map[string]int                  // by daemonKey: the pid that was last said to live, 0: none does
	unsure      map[string]bool                 // lines were dropped since anything was said of it
	kept        map[string]map[string]time.Time // by name: when it was last said to be kept, by reason
	lines       map[string][]string             // the last lines of each name; "": of the roots
	count       map[string]int                  // lines by event
	keptChecked int                             // see mustBeExplained
}

func newModelView() modelView {
	return modelView{said: make(map[string]int), unsure: make(map[string]bool), kept: make(map[string]map[string]time.Time),
		lines: make(map[string][]string), count: make(map[string]int)}
}

// daemonKey names a daemon as the log does; without a root, those of that name in all.
func daemonKey(root, name string) string { return root + "\x00" + daemondir.Printable(name) }

// catchUp takes in what was logged since. The watch must not have ended.
func (m *model) catchUp() {
	m.t.Helper()
	if m.stalled {
		return
	}
	for _, e := range m.w.takeLog() {
		m.takeLine(e)
	}
	select {
	case <-m.w.done:
		m.t.Fatalf("GCTEST_SEED=%d, step %d: the watch has ended: %v\n%s\nthe last steps:\n%s", m.seed, m.step, m.w.cmd.ProcessState,
			strings.Join(m.view.lines[""], ""), strings.Join(m.last, "\n"))
	default:
	}
}

func (m *model) takeLine(e event) {
	checkSecrets(m.t, "the log", e.line)
	v := &m.view
	v.count[e.event]++
	root, _ := e.fields["root"].(string)
	name := e.fields["daemon"]
	key := fmt.Sprintf("%s\x00%v", root, name)
	if of := fmt.Sprintf("\x00%v", name); name != nil && e.event != "sidecar.refreshed" {
		v.lines[of] = append(v.lines[of][max(0, len(v.lines[of])-25):], e.line)
	} else if e.event != "sweep.done" && e.level != "debug" {
		v.lines[""] = append(v.lines[""][max(0, len(v.lines[""])-25):], e.line)
	}
	if name != nil {
		delete(v.unsure, key)
	}
	switch e.event {
	case "daemon.added", "daemon.exited":
		v.said[key] = 0
	case "daemon.live":
		v.said[key] = int(e.number("pid"))
	case "daemon.gone":
		delete(v.said, key)
	case "daemon.removed":
		delete(v.said, key)
		if age := e.number("age_ms"); age >= 0 && age < modelStaleAfter.Milliseconds() {
			m.t.Errorf("removed too early: %s", e.line)
		}
	case "daemon.kept":
		if v.kept[e.daemon] == nil {
			v.kept[e.daemon] = make(map[string]time.Time)
		}
		v.kept[e.daemon][e.reason] = e.time
	case "log.dropped":
		for _, s := range m.roots {
			for n := range modelNames {
				v.unsure[daemonKey(s, modelName(n))] = true
			}
		}
	}
}

// mustBeExplained is called when p, which was held, is let go: if it was due by then, the
// log must say why it was kept.
func (m *model) mustBeExplained(p *place, reason string) {
	at := slices.Index(m.served, p.shelf)
	if p.live || reason == "" || at < 0 || m.limited || m.protects(p.name) ||
		time.Since(p.killed) < modelStaleAfter+2*modelSweep {
		return
	}
	m.resume()
	m.view.keptChecked++
	m.awaitTruth(func() (*place, string) {
		m.catchUp()
		if !m.view.kept[daemondir.Printable(p.name)][reason].Before(p.killed.Truncate(time.Millisecond)) ||
			m.view.unsure[daemonKey(m.roots[at], p.name)] {
			return nil, ""
		}
		return p, fmt.Sprintf("dead for %v and kept, but there was no daemon.kept with reason %s", time.Since(p.killed), reason)
	})
}

// diff returns what was said that is not so, and of which place.
func (m *model) diff() (*place, string) {
	m.catchUp()
	known := make(map[string]bool) // what is said of these is right, or may be anything
	for i, s := range m.served {
		for _, p := range m.places {
			if p.shelf != s {
				continue
			}
			key := daemonKey(m.roots[i], p.name)
			known[key] = true
			known[daemonKey(m.roots[i], p.at)] = true
			if p.busy || m.view.unsure[key] {
				continue
			}
			pid, said := m.view.said[key]
			switch {
			case p.live && pid != p.d.pid:
				return p, fmt.Sprintf("%q lives as %d, said was %d, %v", key, p.d.pid, pid, said)
			case !p.live && pid != 0:
				return p, fmt.Sprintf("%q is dead, said to live as %d", key, pid)
			case !p.live && said != exists(p.path()):
				return p, fmt.Sprintf("%q is on disk: %v, said was: %v", key, exists(p.path()), said)
			}
		}
	}
	for key := range m.view.said {
		if !known[key] && !m.view.unsure[key] && !strings.Contains(key, modelJunk) {
			return nil, fmt.Sprintf("%q was said and is not there: %s", key, strings.Join(m.view.lines[key[strings.Index(key, "\x00"):]], ""))
		}
	}
	return nil, ""
}

// checkTruth ends what was done to the roots and the watch, and waits until what was said
// is what there is.
func (m *model) checkTruth() {
	m.t.Helper()
	m.resume()
	m.undo(true, false)
	m.awaitTruth(func() (*place, string) { return m.diff() })
	m.calm, m.begun = true, true
}

func (m *model) awaitTruth(diff func() (*place, string)) {
	m.t.Helper()
	var p *place
	var wrong string
	began := time.Now()
	for time.Since(began) < patience {
		m.guard()
		m.forget()
		last := wrong
		if p, wrong = diff(); wrong == "" {
			if took := time.Since(began); took > 5*time.Second {
				m.t.Logf("step %d: the truth took %v, last was: %s", m.step, took.Round(time.Millisecond), last)
			}
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	m.fail(p, "not within %v: %s", patience, wrong)
}

// end undoes everything, and waits for the truth: the living are there, and nothing else.
func (m *model) end() {
	m.t.Helper()
	m.resume()
	m.undo(true, true)
	m.undo(true, true) // what has begun meanwhile
	m.awaitTruth(func() (*place, string) {
		for i, s := range m.served {
			if p, wrong := m.leftIn(s); wrong != "" {
				return p, fmt.Sprintf("in %s: %s", m.roots[i], wrong)
			}
		}
		return m.diff()
	})
	m.awaitTruth(m.listed)
	m.awaitTruth(m.measured)
	var ofLogs int
	m.awaitTruth(func() (p *place, wrong string) {
		ofLogs, p, wrong = m.watchedByFiles()
		return p, wrong
	})
	worn := m.footprint()
	m.stopWatch(syscall.SIGTERM)
	m.startWatch()
	m.awaitTruth(m.diff)
	m.awaitTruth(m.measured)
	fresh := m.footprint()
	live := 0
	for _, s := range m.served {
		live += m.living(s)
	}
	m.t.Logf("after the storm: %v; a fresh one: %v; %d live daemons in %d roots", worn, fresh, live, len(m.roots))
	if want := 2*len(m.roots) + live; worn.watches != want+ofLogs || fresh.watches != want {
		m.t.Errorf("%d watches after the storm, %d of a fresh one, want %d: the roots, what holds them, the live; and %d for logs", worn.watches, fresh.watches, want, ofLogs)
	}
	if worn.fds > fresh.fds+1 { // one for somebody who asks for the metrics
		m.t.Errorf("from %d to %d descriptors", fresh.fds, worn.fds)
	}
	if worn.threads > fresh.threads+8 || worn.rssKB > 2*fresh.rssKB {
		m.t.Errorf("it does not give back all it takes")
	}
	m.stopWatch(syscall.SIGTERM)
}

// watchedByFiles returns how many dirs of live daemons have two watches, on their files, because a
// log was written there. It is wrong if one has neither these nor one of its own.
func (m *model) watchedByFiles() (n int, wrong *place, how string) {
	for _, s := range m.served {
		for _, p := range m.places {
			if p.shelf != s || !p.live {
				continue
			}
			dir, sidecar, pid := m.watchesOn(p.path()), m.watchesOn(p.sidecar()), m.watchesOn(p.pidFile())
			switch {
			case dir == 1 && sidecar == 0 && pid == 0:
			case dir == 0 && sidecar == 1 && pid == 1:
				n++
			default:
				return n, p, fmt.Sprintf("it has %d watches, its sidecar %d, its pid file %d", dir, sidecar, pid)
			}
		}
	}
	return n, nil, ""
}

// footprint is what the watch holds at rest; a sweep holds more for a moment.
func (m *model) footprint() footprint {
	least := footprintOf(m.t, m.w.cmd.Process.Pid)
	for range 30 {
		time.Sleep(10 * time.Millisecond)
		if f := footprintOf(m.t, m.w.cmd.Process.Pid); f.fds < least.fds {
			least = f
		}
	}
	return least
}

// leftIn returns what is missing or left over in a shelf.
func (m *model) leftIn(s *shelf) (*place, string) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err.Error()
	}
	for _, entry := range entries {
		p := m.find(s, entry.Name())
		if p == nil || !p.live {
			return p, fmt.Sprintf("%q is left over", entry.Name())
		}
	}
	if n := m.living(s); n != len(entries) {
		return nil, fmt.Sprintf("%d daemons live, and there are %d dirs", n, len(entries))
	}
	return nil, ""
}

func (m *model) living(s *shelf) (n int) {
	for _, p := range m.places {
		if p.shelf == s && p.live {
			n++
		}
	}
	return n
}

// listed compares what a fresh process lists, of all roots.
func (m *model) listed() (*place, string) {
	out := run(m.t, append([]string{"list", "--json"}, m.flags()...)...).must(m.t)
	var rows []struct {
		Dir, State, Reason string
		PID                int
		Seen               int64 `json:"last_seen_unix_ms"`
	}
	noError(m.t, json.Unmarshal([]byte(out.stdout), &rows))
	listed := make(map[string]int)
	for n, row := range rows {
		listed[row.Dir] = n
	}
	all := 0
	for i, s := range m.served {
		for _, p := range m.places {
			if p.shelf != s || !p.live {
				continue
			}
			all++
			n, ok := listed[strings.ToValidUTF8(filepath.Join(m.roots[i], p.name), "\ufffd")]
			if !ok {
				return p, fmt.Sprintf("%q is not listed", p.name)
			}
			row := rows[n]
			if age := time.Since(time.UnixMilli(row.Seen)); row.State != "alive" || row.PID != p.d.pid || age > modelStaleAfter {
				return p, fmt.Sprintf("it lives as %d, and is listed as %+v, last seen %v ago", p.d.pid, row, age)
			}
		}
	}
	if all != len(rows) {
		return nil, fmt.Sprintf("%d daemons live, and %d are listed: %+v", all, len(rows), rows)
	}
	return nil, ""
}

// measured compares the metrics.
func (m *model) measured() (*place, string) {
	text := get(m.t, m.url+"/metrics")
	checkSecrets(m.t, "the metrics", text)
	figures := parseSamples(m.t, text)
	for i, s := range m.served {
		for _, state := range []string{"alive", "dead", "unknown", "invalid"} {
			want := 0
			if state == "alive" {
				want = m.living(s)
			}
			sample := fmt.Sprintf("runtimegc_daemons{root=%q,state=%q}", m.roots[i], state)
			if got, ok := figures[sample]; !ok || got != float64(want) {
				return nil, fmt.Sprintf("%s is %v, want %d", sample, got, want)
			}
		}
		for _, name := range []string{"runtimegc_watch_degraded", "runtimegc_polled_dirs"} {
			if sample := fmt.Sprintf("%s{root=%q}", name, m.roots[i]); figures[sample] != 0 {
				return nil, fmt.Sprintf("%s is %v", sample, figures[sample])
			}
		}
	}
	return nil, ""
}

// stopWatch ends the watch by a signal; nothing is in its way.
func (m *model) stopWatch(sig syscall.Signal) {
	m.t.Helper()
	m.resume()
	m.catchUp()
	if sig == syscall.SIGKILL {
		noError(m.t, m.w.cmd.Process.Kill())
		<-m.w.done
	} else {
		m.w.stop(sig)
	}
	for _, e := range m.w.takeLog() {
		if sig != syscall.SIGKILL || e.event != "" { // its last line may be cut
			m.takeLine(e)
		}
	}
}

// descriptors sets how many descriptors the watch may have, if it may have none left: as
// many as it has. It returns what ends that.
func (m *model) descriptors() (restore func()) {
	pid := m.w.cmd.Process.Pid
	var was unix.Rlimit
	noError(m.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was))
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	noError(m.t, err)
	now := unix.Rlimit{Cur: uint64(len(fds) + m.rng.IntN(3)), Max: was.Max}
	noError(m.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &now, nil))
	return func() {
		if m.w.cmd.Process.Pid == pid {
			noError(m.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil))
		}
	}
}
