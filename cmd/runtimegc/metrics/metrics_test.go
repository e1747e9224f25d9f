package metrics

import (
	"context"
	"errors"
	"io"
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
	"runtimegc/registry/daemondir/daemondirtest"
	"runtimegc/watcher"
)

// testMetrics returns metrics with a collector and a watcher for each root, which have
// seen nothing but one empty sweep.
func testMetrics(t *testing.T, opts Options, roots ...string) *Metrics {
	t.Helper()
	m, err := Open(t.Context(), opts, "v1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	if err := m.ExposeLog(func() uint64 { return 7 }); err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		reg := registry.New(root)
		of := m.Root(root)
		collector, err := prune.New(prune.Options{Registry: reg, DryRun: true, Trace: of.Trace()})
		if err != nil {
			t.Fatal(err)
		}
		watch, err := watcher.New(watcher.Options{Registry: reg})
		if err != nil {
			t.Fatal(err)
		}
		if err := of.Expose(collector, watch); err != nil {
			t.Fatal(err)
		}
		if _, err := collector.Sweep(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		of.Trace()(prune.TraceEvent{Event: "daemon.live", Timed: true, Latency: time.Millisecond})
	}
	return m
}

// Labels must have few values, or Prometheus drowns: none holds the name of a daemon, and
// the path of a root is escaped as in the log.
func TestLabels(t *testing.T) {
	evil := "/root\n\"\xff"
	m := testMetrics(t, Options{Textfile: "unused"}, evil, "/other")
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
			if ofProcess := []string{"runtimegc_build_info", "runtimegc_log_dropped_total"}; !hasRoot && !slices.Contains(ofProcess, family.GetName()) {
				t.Errorf("%s does not have the label root", family.GetName())
			}
		}
	}
	for name, most := range map[string]int{"root": 2, "state": 4, "reason": 13, "event": 2, "version": 1, "goversion": 1} {
		if len(values[name]) != most {
			t.Errorf("label %s has values %q, want %d", name, values[name], most)
		}
		delete(values, name)
	}
	if len(values) > 0 {
		t.Errorf("unknown labels: %q", values)
	}
}

// A process has one registry, to which a root can be added only once.
func TestRootsAreApart(t *testing.T) {
	m := testMetrics(t, Options{Textfile: "unused"}, "/a")
	again := m.Root("/a")
	collector, err := prune.New(prune.Options{Registry: registry.New("/a")})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Expose(collector, nil); err == nil {
		t.Error("one root was added twice, and no error")
	}
}

// publish publishes m until the returned function is called, which fails the test unless
// Publish returns and leaves no goroutine behind.
func publish(t *testing.T, m *Metrics, log io.Writer) (stop func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Publish(ctx, zerolog.New(log))
	}()
	stop = sync.OnceFunc(func() {
		t.Helper()
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("Publish does not return")
		}
		daemondirtest.Eventually(t, "every goroutine has ended", func() bool { return runtime.NumGoroutine() <= before })
	})
	t.Cleanup(stop)
	return stop
}

// Without options nothing is made, and no hook is set.
func TestNoMetrics(t *testing.T) {
	m, err := Open(t.Context(), Options{}, "v1")
	if err != nil || m != nil {
		t.Fatalf("%v, %v", m, err)
	}
	of := m.Root("/a")
	if of != nil || of.Trace() != nil {
		t.Error("the collector is traced")
	}
	if err := errors.Join(of.Expose(nil, nil), m.ExposeLog(nil)); err != nil {
		t.Error(err)
	}
	m.Publish(t.Context(), zerolog.Nop())
	if err := m.WriteTextfile(); err != nil {
		t.Error(err)
	}
	m.Close()
}

// The library's default registry, which any package may add to, is not published.
func TestOwnRegistry(t *testing.T) {
	m := testMetrics(t, Options{Textfile: "unused"})
	foreign := prometheus.NewCounter(prometheus.CounterOpts{Name: "foreign_total"})
	prometheus.MustRegister(foreign)
	defer prometheus.Unregister(foreign)
	families, err := m.withProcess().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "foreign_total" {
			t.Error("it is published")
		}
	}
}
