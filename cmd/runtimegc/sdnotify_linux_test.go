package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir/daemondirtest"
	"runtimegc/watcher"
)

// A watcher that leaves the registry as it is.
type stillWatcher struct{ reg *registry.Registry }

func (w stillWatcher) Registry() *registry.Registry { return w.reg }

func (w stillWatcher) RunLocked(ctx context.Context, _ func(string) (string, func(), error)) error {
	<-ctx.Done()
	return nil
}

// The watchdog is answered only while every loop answers: not by one of three watches whose
// collector does not run, but as soon as it does.
func TestWatchdogOfALoopThatDoesNotAnswer(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify-") // not below TempDir: the name of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", address.Name)
	// next returns the next message, or nothing if there is none within d.
	next := func(d time.Duration) string {
		message := make([]byte, 4096)
		_ = manager.SetReadDeadline(time.Now().Add(d))
		n, _ := manager.Read(message)
		return string(message[:n])
	}

	n := &notifier{watchdog: 20 * time.Millisecond}
	collect := func(w *rootWatch) { go w.collector.Run(t.Context(), stillWatcher{w.reg}) }
	for range 3 {
		w := &rootWatch{reg: registry.New(t.TempDir())}
		if w.watcher, err = watcher.New(watcher.Options{Registry: w.reg}); err != nil {
			t.Fatal(err)
		}
		if w.collector, err = prune.New(prune.Options{Registry: w.reg, DryRun: true}); err != nil {
			t.Fatal(err)
		}
		go w.watcher.Run(t.Context())
		n.watches = append(n.watches, w)
	}
	collect(n.watches[0])
	collect(n.watches[2])
	go n.run(t.Context())
	for _, want := range []string{"READY=1", "STATUS=watching 0 daemon dirs in 3 roots"} {
		if message := next(daemondirtest.Patience); message != want {
			t.Fatalf("told %q, want %q", message, want)
		}
	}
	if message := next(20 * n.watchdog); message != "" {
		t.Fatalf("one collector does not run, and the manager is told %q", message)
	}
	collect(n.watches[1])
	for range 3 {
		if message := next(daemondirtest.Patience); !strings.HasPrefix(message, "WATCHDOG=1") {
			t.Fatalf("every loop answers, and the manager is told %q", message)
		}
	}
}
