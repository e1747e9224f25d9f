package prune_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// demoRoot makes a runtime root with the directory of a daemon that died an hour ago,
// and one that died now.
func demoRoot() string {
	root, err := os.MkdirTemp("", "runtime")
	if err != nil {
		panic(err)
	}
	for name, age := range map[string]time.Duration{"old": time.Hour, "new": 0} {
		dir := filepath.Join(root, name)
		sidecar := fmt.Sprintf(`{"spawned_at_unix_ms": %d}`, time.Now().Add(-age).UnixMilli())
		if err := os.Mkdir(dir, 0o755); err != nil {
			panic(err)
		}
		if err := os.WriteFile(filepath.Join(dir, daemondir.SidecarName(name)), []byte(sidecar), 0o644); err != nil {
			panic(err)
		}
	}
	return root
}

// A daemon of your own watches a root and collects it, in its own process and with its
// own logger. The watcher writes the registry, the collector reads it, and one call runs
// both until the context is done.
func Example() {
	root := demoRoot()
	defer os.RemoveAll(root)
	// Any zerolog.Logger will do. This one leaves out what is another at every run.
	log := zerolog.New(zerolog.ConsoleWriter{
		Out: os.Stdout, NoColor: true, PartsOrder: []string{"level", "message"},
		FieldsExclude: []string{"event", "dir", "age_ms", "bytes", "last_seen_unix_ms", "duration_ms", "unreadable_processes"},
	}).Level(zerolog.InfoLevel)

	reg := registry.New(root)
	watch, err := watcher.New(watcher.Options{Registry: reg})
	if err != nil {
		fmt.Println(err)
		return
	}
	collector, err := prune.New(prune.Options{
		Registry: reg, Log: log.With().Str("component", "gc").Logger(),
		StaleAfter: 30 * time.Minute, Protect: []string{"db-*"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- collector.Run(ctx, watch) }()

	for collector.Totals().Sweeps == 0 { // what your daemon is there for
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	fmt.Println(<-ended, collector.Totals().Removed, "removed")
	// Unordered output:
	// INF daemon dir found component=gc daemon=old
	// INF daemon dir found component=gc daemon=new
	// INF daemon dir removed component=gc daemon=old files=2 reason=no_pid
	// INF sweep done alive=0 checked=2 component=gc dead=2 failed=0 invalid=0 kept=1 refreshed=0 removed=1 unknown=0
	// <nil> 1 removed
}

// One pass, without a watch: what `runtimegc prune` does.
func ExampleCollector_Sweep() {
	root := demoRoot()
	defer os.RemoveAll(root)
	reg := registry.New(root)
	if err := watcher.Scan(context.Background(), reg); err != nil {
		fmt.Println(err)
		return
	}
	collector, err := prune.New(prune.Options{Registry: reg, StaleAfter: 30 * time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := collector.Sweep(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, row := range result.Rows {
		fmt.Println(row.Name, row.State, row.Decision, row.Reason)
	}
	fmt.Println(result.Removed, "of", result.Checked, "removed")
	// Unordered output:
	// old dead remove no_pid
	// new dead keep not_stale
	// 1 of 2 removed
}

// Why is it still there?
func ExampleCollector_Explain() {
	root := demoRoot()
	defer os.RemoveAll(root)
	reg := registry.New(root)
	if err := watcher.ScanDir(context.Background(), reg, "old"); err != nil {
		fmt.Println(err)
		return
	}
	collector, err := prune.New(prune.Options{
		Registry: reg, StaleAfter: 30 * time.Minute, Protect: []string{"o*"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	x, known := collector.Explain("old")
	if !known {
		fmt.Println("no such daemon")
		return
	}
	fmt.Printf("%s is %s; decision: %s, because %s\n", x.Name, x.State, x.Decision, x.Reason.Words())
	for _, check := range x.Checks {
		if check.Reason != "" { // it settles something
			fmt.Printf("%s: %s, %s\n", check.Check, check.Outcome, check.Details)
		}
	}
	// Output:
	// old is dead; decision: keep, because it is protected
	// pid_file: dead, its pid file is missing or holds no pid
	// protected: keep, by the pattern "o*"
}

// A daemon that logs by log/slog gives the collector the zerolog.Logger behind its
// handler: both then write one and the same stream.
func Example_slog() {
	root := demoRoot()
	defer os.RemoveAll(root)
	backend := zerolog.New(zerolog.ConsoleWriter{
		Out: os.Stdout, NoColor: true, PartsOrder: []string{"level", "message"},
		FieldsExclude: []string{"time", "event", "dir", "age_ms", "bytes", "last_seen_unix_ms", "duration_ms", "unreadable_processes"},
	}).Level(zerolog.InfoLevel)
	log := slog.New(zerolog.NewSlogHandler(backend))

	log.Info("collecting", "tool", "mine")
	reg := registry.New(root)
	if err := watcher.ScanDir(context.Background(), reg, "old"); err != nil {
		log.Error("reading the root", "error", err)
		return
	}
	collector, err := prune.New(prune.Options{Registry: reg, Log: backend, StaleAfter: 30 * time.Minute})
	if err != nil {
		log.Error("making a collector", "error", err)
		return
	}
	if _, err := collector.Sweep(context.Background(), nil); err != nil {
		log.Error("sweeping", "error", err)
	}
	// Output:
	// INF collecting tool=mine
	// INF daemon dir found daemon=old
	// INF daemon dir removed daemon=old files=2 reason=no_pid
	// INF sweep done alive=0 checked=1 dead=1 failed=0 invalid=0 kept=0 refreshed=0 removed=1 unknown=0
}
