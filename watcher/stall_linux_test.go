package watcher

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A root that ceases to answer while it is served is noticed whatever comes to it first, and
// served when it answers.
func TestStallWhileServed(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	var held *os.File // until the root answers again: a spawner would wait for its lease for 45 s
	for _, row := range []struct {
		name      string
		setup     setup
		eventless string
		before    func(t *testing.T, s *session) // the root is served
		trigger   func(s *session)               // it does not answer
	}{
		{name: "a check", setup: setup{CheckInterval: soon}},
		{name: "a poll of a dir", eventless: "nfs"},
		{name: "a poll of the root", eventless: "nfs", before: func(t *testing.T, s *session) {
			removeAll(t, filepath.Join(s.root, "a"))
			daemondirtest.Eventually(t, "an empty registry", func() bool { return s.opts.Registry.Len() == 0 })
		}},
		{name: "an event of the root", trigger: func(s *session) { signal(s.pending.root) }},
		{name: "an event of a dir", trigger: func(s *session) { s.pending.names.Add("a", time.Time{}) }},
		{name: "an own write", trigger: func(s *session) { s.pending.ours.Add("a", time.Time{}) }},
		{name: "a noisy dir", trigger: func(s *session) { s.pending.noisy.Add("a", time.Time{}) }},
		{name: "a doubt", trigger: func(s *session) { s.opts.Registry.Doubt("a") }},
		{name: "a sidecar that is being written", before: func(t *testing.T, s *session) {
			held = lease(t, sidecarPath(s.root, "a"))
			s.pending.names.Add("a", time.Time{})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.setup.Root, row.setup.PollInterval = newRoot(t), soon
			spawn(t, row.setup.Root, "a", 1)
			w := prepare(t, row.setup)
			w.eventless = func(string) string { return row.eventless }
			w.stall.limit = 200 * time.Millisecond
			w.run()
			w.waitPID("a", 1)
			w.mu.Lock()
			s := w.session
			w.mu.Unlock()
			daemondirtest.Eventually(t, "it waits for events", func() bool { return w.pinged(time.Second) && !w.stall.now() })
			if row.before != nil {
				row.before(t, s)
			}
			free := daemondirtest.MountSilent(t, w.root)
			if row.trigger != nil {
				row.trigger(s)
			}
			daemondirtest.Eventually(t, "it does not answer", w.stall.now)
			free()
			daemondirtest.Eventually(t, "it answers", func() bool { return !w.stall.now() })
			if held != nil {
				held.Close()
			}
			spawn(t, w.root, "a", 2)
			w.waitPID("a", 2)
		})
	}
}
