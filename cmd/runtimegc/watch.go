package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/cmd/runtimegc/control"
	"runtimegc/cmd/runtimegc/metrics"
	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

type watchOptions struct {
	*options
	dryRun  bool
	metrics metrics.Options
	queue   *logQueue
	started []setting // in effect at the start
	// As of the last reload.
	current          prune.Settings
	currentProtected []string
}

func newWatchCommand(opts *options) *cobra.Command {
	w := &watchOptions{options: opts}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Watch the runtime roots until interrupted",
		Long: `watch logs every daemon that starts or exits and every directory that disappears,
refreshes the sidecars of live daemons, and removes the directories of those that have
been dead for --stale-after. It waits for a root that does not exist yet, or whose file
system does not answer, and serves the other roots meanwhile.

A root can have only one watch: a second one prints who holds it, and exits. On another
host or in another pid namespace, such as a container, it follows the first: it logs and
refreshes the daemons that live there, removes nothing, and takes over when the first has
ended.

SIGINT and SIGTERM end a watch after it has finished what it is doing, but within 5 s; a
second one ends it at once.

If what reads the log stops reading, the watch goes on: it drops lines, and the log says
later how many.

On SIGHUP it reads daemon.toml again and reopens --log-file. Times that the command line
or the environment sets stay as they are. If daemon.toml is invalid, nothing changes,
and the log says so. On Windows there is no SIGHUP: restart the watch instead.
SIGUSR1 makes it sweep at once; so does runtimegc prune.

Metrics for Prometheus are off by default. --metrics-listen ADDRESS serves them on
http://ADDRESS/metrics; port or :port means 127.0.0.1, and 0.0.0.0:port or [::]:port
serves every network. --metrics-textfile FILE writes them for node_exporter's textfile
collector, after each sweep and at the end.`,
		Example: `  runtimegc watch
  runtimegc watch --stale-after 30m --sweep-interval 1m --log-format json
  runtimegc watch --protect 'db-*' --protect web
  runtimegc watch --metrics-listen 9100
  runtimegc watch --root ~/a/runtime --root /srv/b/runtime --log-file /var/log/runtimegc.log
  RUNTIMEGC_STALE_AFTER=24h runtimegc watch --dry-run`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The watch must continue when the reader of its log has exited.
			signal.Ignore(syscall.SIGPIPE)
			// Before anything else, because until then a SIGHUP ends the program.
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			sweeps := make(chan os.Signal, 1)
			if len(sweepSignals) > 0 {
				signal.Notify(sweeps, sweepSignals...)
				defer signal.Stop(sweeps)
			}
			w.waits = true
			if err := w.resolve(cmd); err != nil {
				return err
			}
			if err := checkTextfile(w.metrics.Textfile.String(), w.roots.list); err != nil {
				return err
			}
			w.queue = newLogQueue(w.logOut)
			w.log = w.log.Output(w.queue)
			logUnknown(w.log, w.unknown)
			err := w.run(cmd.Context(), hangups, sweeps)
			defer w.underWay.begin("the log")()
			return cmp.Or(err, w.queue.close(drainTimeout))
		},
	}
	w.addWatchFlags(cmd.Flags())
	return cmd
}

// addWatchFlags adds the flags that only a watch has.
func (w *watchOptions) addWatchFlags(flags *pflag.FlagSet) {
	flags.Var(&w.sweepInterval, "sweep-interval", "time between two sweeps")
	flags.BoolVar(&w.dryRun, "dry-run", false, "log what would be done, and change nothing")
	flags.Var(&w.metrics.Listen, "metrics-listen", "serve metrics for Prometheus on this address; without a host on 127.0.0.1")
	addTextfileFlag(flags, &w.metrics)
}

// keepHeapSmall sets GOGC to 50, unless the environment sets it. A running watch allocates almost
// nothing, so a smaller heap costs no time, and saves 100 bytes per daemon dir (with 100,000 of
// them). It saves list as much, and costs it some 2% of its processor time.
func keepHeapSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// run watches every root until ctx is done or one of them fails.
func (o *watchOptions) run(ctx context.Context, hangups, sweeps <-chan os.Signal) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // see oneProcessor
	keepHeapSmall()
	published, err := metrics.Open(ctx, o.metrics, version())
	if err != nil {
		return err
	}
	defer published.Close()
	if err := published.ExposeLog(o.queue.dropped.Load); err != nil {
		return err
	}
	watches := make([]*rootWatch, len(o.roots.list))
	if err := eachRoot(o.roots.list, func(i int, root string) (err error) {
		watches[i], err = o.newRootWatch(root, published.Root(root))
		return err
	}); err != nil {
		return err
	}
	systemd, err := newNotifier(watches)
	if err != nil {
		return err
	}
	o.current, o.currentProtected, o.started = o.times, o.protected, o.settings()
	// The metrics are published until everything else has ended.
	publishCtx, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	var publishing sync.WaitGroup
	publishing.Go(func() { published.Publish(publishCtx, o.log) })

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	failures := make([]error, len(watches))
	for i, w := range watches {
		running.Go(func() {
			defer stop() // then the others stop as well
			defer o.underWay.begin("the watch of " + w.reg.Root())()
			failures[i] = w.run(ctx)
		})
	}
	running.Go(func() { systemd.run(ctx) })
	running.Go(func() {
		var ready []<-chan struct{}
		for _, w := range watches {
			ready = append(ready, w.watcher.Ready())
		}
		if o.showProgress(ctx, func() int { return countDirs(watches) }, ready) {
			oneProcessor()
		}
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-sweeps:
				for _, w := range watches {
					w.logRequested(control.Client{}, prune.Request{})
					w.collector.SweepNow()
				}
			case <-hangups:
				if o.terminal && !isTerminal(o.stderr) {
					stop() // the terminal was closed
					return
				}
				end := o.underWay.begin("a reload")
				systemd.reload(func() { o.reload(watches) })
				end()
			}
		}
	})
	running.Wait()
	stopPublishing()
	defer o.underWay.begin("the metrics")()
	publishing.Wait()

	var failed error
	for _, err := range failures {
		switch {
		case failed == nil:
			failed = err
		case err != nil:
			failed = fmt.Errorf("%w; %w", failed, err)
		}
	}
	return failed
}

// A rootWatch watches one root.
type rootWatch struct {
	*watchOptions
	log       zerolog.Logger // names the root in every line
	reg       *registry.Registry
	watcher   *watcher.Watcher
	collector *prune.Collector
	start     sync.Once // see logStarted
	answering
}

func (o *watchOptions) newRootWatch(root string, counts *metrics.Root) (*rootWatch, error) {
	w := &rootWatch{
		watchOptions: o, reg: registry.New(root),
		log:       o.log.With().Str("root", daemondir.Printable(root)).Logger(),
		answering: answering{since: time.Now()},
	}
	var err error
	w.watcher, err = watcher.New(watcher.Options{
		Registry: w.reg, Log: o.logOf(root),
		CheckInterval: o.times.SweepInterval, // a reload does not change it
	})
	if err != nil {
		return nil, err
	}
	if w.collector, err = o.newCollector(w.reg, o.ownRules(), o.dryRun, givingBack(counts.Trace()), w.onRole); err != nil {
		return nil, err
	}
	return w, counts.Expose(w.collector, w.watcher)
}

// run runs watcher and collector until ctx is done or the watcher fails.
func (w *rootWatch) run(ctx context.Context) error {
	began := time.Now()
	if _, err := daemondir.Stat(w.reg.Root()); err != nil || w.dryRun {
		w.logStarted("") // root.found tells the role; a dry run has none
	}
	err := w.collector.Run(ctx, w.watcher)
	w.setServer(nil)
	w.logStarted("") // if it has not got a role

	// The collector's counts agree with the log. The registry may still have the dirs that
	// were removed last.
	total, daemons := w.collector.Totals(), 0
	for _, n := range total.Daemons {
		daemons += n
	}
	w.log.Info().Str("event", "watch.stopped").
		Int("daemons", daemons).Int("sweeps", total.Sweeps).Int("removed", total.Removed).
		Int("refreshed", total.Refreshed).Int("failed", total.Failed).
		Int64("uptime_ms", time.Since(began).Milliseconds()).Msg("stopped")
	return err
}

// logStarted logs, once, that the watch has started, and its role in the root if that is
// known by then.
func (w *rootWatch) logStarted(role prune.Role) {
	w.start.Do(func() {
		line := w.log.Info()
		if len(w.protected) > 0 {
			line = line.Str("protect", daemondir.Printable(strings.Join(w.protected, " ")))
		}
		if role != "" {
			line = line.Str("role", string(role))
		}
		if w.invalidAfter > 0 {
			line = line.Int64("invalid_after_ms", time.Duration(w.invalidAfter).Milliseconds())
		}
		shared, because := w.sharedRootOf(w.collector)
		line.Str("event", "watch.started").Str("version", version()).
			Int64("sweep_interval_ms", w.times.SweepInterval.Milliseconds()).
			Int64("stale_after_ms", w.times.StaleAfter.Milliseconds()).
			Bool("shared_root", shared).Str("shared_root_because", because).
			Bool("dry_run", w.dryRun).Dict("settings", settingsDict(w.started)).Msg("watching")
	})
}

// oneProcessor limits a watch whose roots have been read to one processor, unless the
// environment sets GOMAXPROCS: its work is a chain of short steps, and passing a step to
// another processor wakes a thread. Measured: 15% less processor time for a sweep over live
// daemons, 20% less while one of them writes a log; but births during removals are logged
// after 0.7 to 3.3 ms instead of 0.4 ms.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// muchRemoved is so many dirs that what they took in memory is worth to be given back: 1 MiB.
const muchRemoved = 1000

// givingBack returns a trace that gives memory back to the system after the first sweep, and
// after one that has removed many dirs, and that calls next, unless it is nil. By itself Go's
// runtime keeps half as much again as is used, and gives back what it does not need only after
// minutes.
func givingBack(next func(prune.TraceEvent)) func(prune.TraceEvent) {
	first := true
	return func(e prune.TraceEvent) {
		if next != nil {
			next(e)
		}
		if e.Event == "sweep.done" && (first || e.Stats.Removed >= muchRemoved) {
			first = false
			debug.FreeOSMemory()
		}
	}
}

// showProgress shows the progress of the first scan of the roots. It reports whether all
// are ready.
func (o *watchOptions) showProgress(ctx context.Context, dirs func() int, ready []<-chan struct{}) bool {
	defer o.screen.follow(func() string { return readingText(dirs()) })()
	for _, one := range ready {
		select {
		case <-one:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func countDirs(watches []*rootWatch) (n int) {
	for _, w := range watches {
		n += w.reg.Len()
	}
	return n
}

// reload reopens the log file, reads daemon.toml again and, if that is valid, passes its
// times to every collector. It is for one goroutine.
func (o *watchOptions) reload(watches []*rootWatch) {
	if o.logTo != nil {
		if err := o.logTo.reopen(); err != nil {
			o.log.Warn().Str("event", "log.unwritable").Err(err).Msg("log file cannot be reopened; still writing to the old one")
		}
	}
	file, err := o.file.read()
	if err != nil {
		o.log.Warn().Str("event", "config.invalid").Err(err).Msg("configuration is invalid; nothing was changed")
		return
	}
	logUnknown(o.log, file.unknown)
	old, now := o.current, o.timesWith(file.Settings)
	wasProtected, protected := o.currentProtected, o.protectedWith(file)
	line := o.log.Info().Str("event", "config.reloaded").Str("file", daemondir.Printable(o.file.path))
	if old == now && slices.Equal(wasProtected, protected) {
		line.Msg("configuration has not changed")
		return
	}
	if old.StaleAfter != now.StaleAfter {
		line = line.Int64("previous_stale_after_ms", old.StaleAfter.Milliseconds()).
			Int64("stale_after_ms", now.StaleAfter.Milliseconds())
	}
	if old.SweepInterval != now.SweepInterval {
		line = line.Int64("previous_sweep_interval_ms", old.SweepInterval.Milliseconds()).
			Int64("sweep_interval_ms", now.SweepInterval.Milliseconds())
	}
	if !slices.Equal(wasProtected, protected) {
		line = line.Str("previous_protect", daemondir.Printable(strings.Join(wasProtected, " "))).
			Str("protect", daemondir.Printable(strings.Join(protected, " ")))
	}
	o.current, o.currentProtected = now, protected
	for _, w := range watches {
		// The flags and the file have only positive times and valid patterns.
		_ = w.collector.SetTimes(now)
		_ = w.collector.SetProtect(protected)
	}
	line.Msg("configuration applied")
}
