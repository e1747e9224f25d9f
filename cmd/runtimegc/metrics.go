package main

// What Prometheus is told: counts of watcher and collector, read when somebody asks,
// and two histograms. No name, pid or path of a daemon is in it, only the root's.

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// metricsOptions say where the metrics go; nowhere, by default.
type metricsOptions struct {
	listen   listenAddress
	textfile string
}

func (o *metricsOptions) addListenTo(flags *pflag.FlagSet) {
	flags.Var(&o.listen, "metrics-listen", "serve metrics for Prometheus on this `address`; without a host on 127.0.0.1")
}

func (o *metricsOptions) addTextfileTo(flags *pflag.FlagSet) {
	flags.StringVar(&o.textfile, "metrics-textfile", "", "write metrics to this `file` for node_exporter's textfile collector")
}

// check checks and completes the options of a command that serves these roots.
func (o *metricsOptions) check(roots ...string) (err error) {
	for _, root := range roots {
		if o.textfile != "" && err == nil {
			o.textfile, err = checkTextfile(o.textfile, root)
		}
	}
	return err
}

// metrics is what all roots of this process tell. A nil one tells nothing, and costs
// nothing.
type metrics struct {
	metricsOptions
	listener net.Listener         // nil: not served
	registry *prometheus.Registry // not the library's own, which anybody may add to
	swept    chan struct{}        // one slot: a sweep is over
}

// open returns the metrics, ready to be published, or nil if they are to go nowhere.
func (o metricsOptions) open(ctx context.Context) (*metrics, error) {
	if o == (metricsOptions{}) {
		return nil, nil
	}
	m := &metrics{metricsOptions: o, registry: prometheus.NewRegistry(), swept: make(chan struct{}, 1)}
	if o.listen != "" {
		var err error
		if m.listener, err = o.listen.open(ctx); err != nil {
			return nil, err
		}
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "runtimegc_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build)
	return m, nil
}

// publish serves and writes the metrics until ctx is done.
func (m *metrics) publish(ctx context.Context, log zerolog.Logger) {
	if m == nil {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	if m.listener != nil {
		running.Go(func() { serveMetrics(ctx, log, m.listener, m.withProcess()) })
	}
	if m.textfile != "" {
		running.Go(func() { keepTextfile(ctx, log, m) })
	}
}

// write writes the textfile once, if there is to be one.
func (m *metrics) write() error {
	if m == nil || m.textfile == "" {
		return nil
	}
	// Whole files only: a new one takes the place of the old.
	if err := prometheus.WriteToTextfile(m.textfile, m.registry); err != nil {
		return fmt.Errorf("writing metrics to %q: %w", m.textfile, err)
	}
	return nil
}

// close gives the address back, should the metrics never have been published.
func (m *metrics) close() {
	if m != nil && m.listener != nil {
		_ = m.listener.Close() // the server has, at its end
	}
}

// withProcess returns the metrics with those of the process and of Go's runtime. They
// are not for a textfile: node_exporter has the same of its own.
func (m *metrics) withProcess() prometheus.Gatherer {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return prometheus.Gatherers{m.registry, process}
}

// The metrics of one root.
var (
	daemonsDesc      = desc("daemons", "Daemon dirs in the root now, by state; invalid: without a usable sidecar.", "state")
	bornDesc         = desc("births_total", "Daemons verified alive: born, respawned, or found at the start.")
	exitedDesc       = desc("exits_total", "Live daemons that have exited.")
	removedDesc      = desc("removed_total", "Daemon dirs removed.")
	removedBytesDesc = desc("removed_bytes_total", "Bytes freed by removals.")
	keptDesc         = desc("kept_total", "Daemon dirs that are due, but kept: once per dir and reason, as daemon.kept in the log.", "reason")
	refreshedDesc    = desc("refreshed_total", "Refreshes of last_seen_unix_ms in a sidecar.")
	failedDesc       = desc("failed_total", "Refreshes and removals that the system refused; each is tried again at every sweep.")
	lastSweepDesc    = desc("last_sweep_timestamp_seconds", "When the last sweep ended; not there before the first.")
	eventsDesc       = desc("events_total", "File-system events taken in.")
	readsDesc        = desc("dir_reads_total", "Daemon dirs read, because of an event, a scan or a poll.")
	overflowsDesc    = desc("event_overflows_total", "Times that events were lost.")
	resyncsDesc      = desc("resyncs_total", "Times that the whole root was read again because of that.")
	degradedDesc     = desc("watch_degraded", "1 while something cannot be watched and is polled.")
	polledDesc       = desc("polled_dirs", "Daemon dirs that are polled now.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("runtimegc_"+name, help, labels, nil)
}

var (
	// states and keptReasons are there from the start, at 0: the rate of a counter that
	// comes into being at 1 misses that one.
	states      = []prune.State{prune.Alive, prune.Dead, prune.Unknown, prune.Invalid}
	keptReasons = []prune.Reason{
		prune.UnknownLiveness, prune.InUse, prune.Locked, prune.Respawned, prune.Changed,
		prune.MountPoint, prune.NotADaemonDir, prune.Permission, prune.Failed,
	}
	noticedEvents = []string{"daemon.live", "daemon.exited"}

	// A sweep takes microseconds over an empty root and seconds over 100,000 removals.
	sweepBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// An exit is said some 100 us after epoll tells of it, a birth after some 200 us.
	noticeBuckets = []float64{50e-6, 100e-6, 200e-6, 500e-6, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1}
)

// rootMetrics is what one root tells.
type rootMetrics struct {
	*metrics
	registerer prometheus.Registerer // sets the label root
	sweeps     prometheus.Histogram
	notices    *prometheus.HistogramVec

	collector *prune.Collector
	watch     *watcher.Watcher // nil: nobody watches, this is one pass
}

// root returns the metrics of one more root; of none if m is nil.
func (m *metrics) root(root string) *rootMetrics {
	if m == nil {
		return nil
	}
	r := &rootMetrics{
		metrics:    m,
		registerer: prometheus.WrapRegistererWith(prometheus.Labels{"root": daemondir.Printable(root)}, m.registry),
		sweeps: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "runtimegc_sweep_duration_seconds", Help: "How long sweeps took.", Buckets: sweepBuckets,
		}),
		notices: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "runtimegc_notice_latency_seconds",
			Help:    "From taking in what the system told to the line in the log.",
			Buckets: noticeBuckets,
		}, []string{"event"}),
	}
	return r
}

// hook has the collector tell the histograms.
func (r *rootMetrics) hook(opts *prune.Options) {
	if r == nil {
		return
	}
	opts.Swept = func(_ prune.Stats, took time.Duration) {
		r.sweeps.Observe(took.Seconds())
		select {
		case r.swept <- struct{}{}:
		default:
		}
	}
	opts.Noticed = func(event string, after time.Duration) {
		r.notices.WithLabelValues(event).Observe(after.Seconds())
	}
}

// expose begins to tell of collector and, unless it is nil, watch.
func (r *rootMetrics) expose(collector *prune.Collector, watch *watcher.Watcher) error {
	if r == nil {
		return nil
	}
	r.collector, r.watch = collector, watch
	all := []prometheus.Collector{r, r.sweeps}
	if watch != nil {
		for _, event := range noticedEvents {
			r.notices.WithLabelValues(event)
		}
		all = append(all, r.notices)
	}
	for _, c := range all {
		if err := r.registerer.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Describe implements [prometheus.Collector].
func (r *rootMetrics) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, c) }

// Collect implements [prometheus.Collector].
func (r *rootMetrics) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	did := r.collector.Totals()
	for _, state := range states {
		gauge(daemonsDesc, float64(did.Daemons[state]), string(state))
	}
	reasons := slices.Clone(keptReasons)
	for reason := range did.Kept { // what a leftover is kept for may be what is wrong with its sidecar
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	for _, reason := range reasons {
		counter(keptDesc, float64(did.Kept[reason]), string(reason))
	}
	counter(bornDesc, float64(did.Born))
	counter(exitedDesc, float64(did.Exited))
	counter(removedDesc, float64(did.Removed))
	counter(removedBytesDesc, float64(did.RemovedBytes))
	counter(refreshedDesc, float64(did.Refreshed))
	counter(failedDesc, float64(did.Failed))
	if !did.LastSweep.IsZero() {
		gauge(lastSweepDesc, float64(did.LastSweep.UnixMilli())/1000)
	}
	if r.watch == nil {
		return
	}
	saw := r.watch.Totals()
	counter(eventsDesc, float64(saw.Events))
	counter(readsDesc, float64(saw.Reads))
	counter(overflowsDesc, float64(saw.Overflows))
	counter(resyncsDesc, float64(saw.Resyncs))
	degraded := 0.
	if saw.Degraded {
		degraded = 1
	}
	gauge(degradedDesc, degraded)
	gauge(polledDesc, float64(saw.Polled))
}
