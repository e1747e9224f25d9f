// Package metrics publishes the counts of watcher and collector for Prometheus: over HTTP, or
// in a file for node_exporter's textfile collector. The counts are read at each scrape or
// write; two histograms are filled as events happen. No name, pid or path of a daemon is in
// them, only the path of the root.
//
// metrics.go says what is published; server.go and textfile.go publish it.
package metrics

import (
	"context"
	"net"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// Options say where the metrics are published. The zero value means nowhere.
type Options struct {
	Listen   Address
	Textfile Textfile
}

// Metrics are those of all roots of this process. The methods of a nil Metrics do nothing.
type Metrics struct {
	opts     Options
	listener net.Listener         // nil: not served
	registry *prometheus.Registry // not the library's default, which any package may add to
	swept    chan struct{}        // one slot: a sweep has ended, so write the textfile
}

// Open returns metrics that are ready to be published, or nil if opts is zero. It is an error
// if the address cannot be used.
func Open(ctx context.Context, opts Options, version string) (*Metrics, error) {
	if opts == (Options{}) {
		return nil, nil
	}
	m := &Metrics{opts: opts, registry: prometheus.NewRegistry(), swept: make(chan struct{}, 1)}
	if opts.Listen != "" {
		var err error
		if m.listener, err = opts.Listen.open(ctx); err != nil {
			return nil, err
		}
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "runtimegc_build_info",
		Help:        "Always 1; the labels say which version is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build)
	return m, nil
}

// Publish serves and writes the metrics until ctx is done.
func (m *Metrics) Publish(ctx context.Context, log zerolog.Logger) {
	if m == nil {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	if m.listener != nil {
		running.Go(func() { serve(ctx, log, m.listener, m.withProcess()) })
	}
	if m.opts.Textfile != "" {
		running.Go(func() { m.keepTextfile(ctx, log) })
	}
}

// Close frees the address, if Publish was never called.
func (m *Metrics) Close() {
	if m != nil && m.listener != nil {
		_ = m.listener.Close() // it fails if the server has closed it already
	}
}

// withProcess returns the metrics together with those of the process and of the Go
// runtime. A textfile must not have these: node_exporter publishes its own.
func (m *Metrics) withProcess() prometheus.Gatherer {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return prometheus.Gatherers{m.registry, process}
}

// ExposeLog publishes how many lines of the log were dropped.
func (m *Metrics) ExposeLog(dropped func() uint64) error {
	if m == nil {
		return nil
	}
	return m.registry.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "runtimegc_log_dropped_total",
		Help: "Lines of the log that were dropped, because they were not read in time or could not be written.",
	}, func() float64 { return float64(dropped()) }))
}

// The counts of one root.
var (
	daemonsDesc      = desc("daemons", "Daemon dirs in the root now, by state; invalid: without a usable sidecar.", "state")
	bornDesc         = desc("births_total", "Daemons verified alive: new, respawned, or found at the start.")
	exitedDesc       = desc("exits_total", "Daemons that have exited, and those of which nobody has seen more than that they are dead.")
	removedDesc      = desc("removed_total", "Daemon dirs removed.")
	removedBytesDesc = desc("removed_bytes_total", "Bytes freed by removals.")
	keptDesc         = desc("kept_total", "Daemon dirs that are due, but kept: once per dir and reason, as daemon.kept in the log.", "reason")
	refreshedDesc    = desc("refreshed_total", "Refreshes of last_seen_unix_ms in a sidecar.")
	failedDesc       = desc("failed_total", "Refreshes and removals that the system refused; each is tried again at every sweep.")
	lastSweepDesc    = desc("last_sweep_timestamp_seconds", "When the last sweep ended; absent before the first.")
	eventsDesc       = desc("events_total", "File-system events received.")
	readsDesc        = desc("dir_reads_total", "Daemon dirs read, because of an event, a scan or a poll.")
	overflowsDesc    = desc("event_overflows_total", "Times that the kernel dropped events.")
	resyncsDesc      = desc("resyncs_total", "Times that the whole root was read again because events were lost.")
	degradedDesc     = desc("watch_degraded", "1 while something cannot be watched, and is polled or found by sweeps only, or does not answer.")
	unannouncedDesc  = desc("unannounced_exits", "Live daemons whose exits only sweeps find, because the limit of open files is too low.")
	polledDesc       = desc("polled_dirs", "Daemon dirs that are polled now.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("runtimegc_"+name, help, labels, nil)
}

var (
	// These labels exist from the start, at 0: if a counter first appears with the value 1,
	// its rate misses that increment.
	states        = []prune.State{prune.Alive, prune.Dead, prune.Unknown, prune.Invalid}
	latencyEvents = []string{"daemon.live", "daemon.exited"}

	// A sweep takes microseconds over an empty root and seconds over 100,000 removals.
	sweepBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// An exit is logged some 100 us after epoll reports it, a birth some 200 us after.
	latencyBuckets = []float64{50e-6, 100e-6, 200e-6, 500e-6, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1}
)

// Root are the metrics of one root. The methods of a nil Root do nothing.
type Root struct {
	metrics    *Metrics
	registerer prometheus.Registerer // adds the label root
	sweeps     prometheus.Histogram
	latencies  *prometheus.HistogramVec

	collector *prune.Collector
	watcher   *watcher.Watcher // nil: a single pass
}

// Root returns the metrics of another root.
func (m *Metrics) Root(root string) *Root {
	if m == nil {
		return nil
	}
	return &Root{
		metrics:    m,
		registerer: prometheus.WrapRegistererWith(prometheus.Labels{"root": daemondir.Printable(root)}, m.registry),
		sweeps: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "runtimegc_sweep_duration_seconds", Help: "How long sweeps took.", Buckets: sweepBuckets,
		}),
		latencies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "runtimegc_notice_latency_seconds",
			Help:    "Time from receiving an event of the system to the line in the log.",
			Buckets: latencyBuckets,
		}, []string{"event"}),
	}
}

// Trace returns the function for [prune.Options.Trace]; it fills the histograms.
func (r *Root) Trace() func(prune.TraceEvent) {
	if r == nil {
		return nil
	}
	return func(e prune.TraceEvent) {
		switch {
		case e.Timed:
			r.latencies.WithLabelValues(e.Event).Observe(e.Latency.Seconds())
		case e.Event == "sweep.done":
			r.sweeps.Observe(e.Took.Seconds())
			select {
			case r.metrics.swept <- struct{}{}:
			default: // a write is due already
			}
		}
	}
}

// Expose registers the counts of a collector and of a watcher, which may be nil.
func (r *Root) Expose(collector *prune.Collector, watch *watcher.Watcher) error {
	if r == nil {
		return nil
	}
	r.collector, r.watcher = collector, watch
	all := []prometheus.Collector{r, r.sweeps}
	if watch != nil {
		for _, event := range latencyEvents {
			r.latencies.WithLabelValues(event)
		}
		all = append(all, r.latencies)
	}
	for _, c := range all {
		if err := r.registerer.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Describe implements [prometheus.Collector].
func (r *Root) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, c) }

// Collect implements [prometheus.Collector].
func (r *Root) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	pruned := r.collector.Totals()
	for _, state := range states {
		gauge(daemonsDesc, float64(pruned.Daemons[state]), string(state))
	}
	for _, info := range prune.Reasons() {
		if n := pruned.Kept[info.Reason]; n > 0 || info.Counted {
			counter(keptDesc, float64(n), string(info.Reason))
		}
	}
	counter(bornDesc, float64(pruned.Born))
	counter(exitedDesc, float64(pruned.Exited))
	counter(removedDesc, float64(pruned.Removed))
	counter(removedBytesDesc, float64(pruned.RemovedBytes))
	counter(refreshedDesc, float64(pruned.Refreshed))
	counter(failedDesc, float64(pruned.Failed))
	if !pruned.LastSweep.IsZero() {
		gauge(lastSweepDesc, float64(pruned.LastSweep.UnixMilli())/1000)
	}
	if r.watcher == nil {
		return
	}
	watched := r.watcher.Totals()
	counter(eventsDesc, float64(watched.Events))
	counter(readsDesc, float64(watched.Reads))
	counter(overflowsDesc, float64(watched.Overflows))
	counter(resyncsDesc, float64(watched.Resyncs))
	degraded := 0.
	if watched.Degraded || pruned.Unannounced > 0 {
		degraded = 1
	}
	gauge(degradedDesc, degraded)
	gauge(unannouncedDesc, float64(pruned.Unannounced))
	gauge(polledDesc, float64(watched.Polled))
}
