package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"runtimegc/cmd/runtimegc/metrics"
	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

type pruneOptions struct {
	*options
	dryRun  bool
	json    bool
	metrics metrics.Options
}

func newPruneCommand(opts *options) *cobra.Command {
	p := &pruneOptions{options: opts}
	cmd := &cobra.Command{
		Use:   "prune [NAME...]",
		Short: "Make one pass over the runtime roots, or over the dirs of some daemons, and exit",
		Long: `prune reads each runtime root once, refreshes the sidecars of live daemons, removes the
directories of those that have been dead for --stale-after, and prints what it did. If
one of several roots cannot be served, none is touched.

With NAMEs it comes to the directories of these daemons only, says what became of each,
and fails if one of them was not removed. They go through all the checks, like any other:
what has not been dead for long enough is removed with a shorter --stale-after.

If a watch serves the root, prune has the watch make the pass at once. It goes by the
watch's settings then, and by --stale-after if that is given. The watch answers to its
own user, to root, and to the owner of the root.

--metrics-textfile FILE writes the counts of this one pass for node_exporter's textfile
collector.`,
		Example: `  runtimegc prune --dry-run
  runtimegc prune my-daemon --stale-after 1m
  runtimegc prune --stale-after 24h --json
  runtimegc prune --root ~/a/runtime --root ~/b/runtime`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			names := slices.DeleteFunc(daemonNames(cmd, opts, typed), func(name string) bool { return slices.Contains(args, name) })
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := p.resolve(cmd); err != nil {
				return err
			}
			if err := checkTextfile(p.metrics.Textfile.String(), p.roots.list); err != nil {
				return err
			}
			return p.run(cmd.Context(), cmd.OutOrStdout(), names)
		},
	}
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "print what would be done, and change nothing")
	cmd.Flags().BoolVar(&p.json, "json", false, "print a JSON object")
	addTextfileFlag(cmd.Flags(), &p.metrics)
	return cmd
}

// pruneResult is the object of prune --json.
type pruneResult struct {
	ScannedDirs       int         `json:"scanned_dirs"`
	RemovedDirs       int         `json:"removed_dirs"`
	RefreshedSidecars int         `json:"refreshed_sidecars"`
	KeptDirs          int         `json:"kept_dirs"`
	FailedDirs        int         `json:"failed_dirs"`
	DryRun            bool        `json:"dry_run"`
	Daemons           []prune.Row `json:"daemons"`
}

// A rootPass is the pass over one root: by this process, or by the watch that serves the root.
type rootPass struct {
	root      string
	names     []string         // empty: all dirs
	collector *prune.Collector // nil: the watch makes the pass
	served    served
}

// run makes one pass over the dirs of those names or, without names, over all.
func (o *pruneOptions) run(ctx context.Context, stdout io.Writer, names []string) error {
	// What prune did is its result, on stdout; the log is only for problems.
	o.log = o.log.Level(max(o.log.GetLevel(), zerolog.WarnLevel))
	logUnknown(o.log, o.unknown)
	published, err := metrics.Open(ctx, o.metrics, version())
	if err != nil {
		return err
	}
	passes, err := o.passes(ctx, names)
	if err != nil {
		return err
	}
	for i := range passes {
		release, err := o.prepare(&passes[i], published.Root(passes[i].root))
		if err != nil {
			return err
		}
		defer release()
	}
	dirs := 0
	for _, p := range passes {
		if p.collector == nil {
			continue
		}
		if err := o.read(ctx, p); err != nil {
			return err
		}
		dirs += p.collector.Registry().Len()
	}
	result := pruneResult{DryRun: o.dryRun, Daemons: []prune.Row{}}
	var done atomic.Int64
	for _, p := range passes {
		swept, err := o.sweep(ctx, p, func() string { return fmt.Sprintf("pruning: %d of %d dirs", done.Load(), dirs) }, &done)
		if err != nil {
			return err
		}
		result.add(swept)
	}
	slices.SortFunc(result.Daemons, func(a, b prune.Row) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Dir, b.Dir))
	})
	if err := errors.Join(o.print(stdout, result, len(names) > 0), published.WriteTextfile()); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; what had begun was finished, the rest was not done")
	case result.FailedDirs > 0:
		return result.failure()
	}
	return result.missed(passes, o.dryRun)
}

// passes finds the roots of the names, or takes all roots, and finds their watches.
func (o *pruneOptions) passes(ctx context.Context, names []string) ([]rootPass, error) {
	namesOf := make(map[string][]string)
	for _, name := range names {
		found, err := o.find(ctx, name)
		if err != nil {
			return nil, err
		}
		namesOf[found.Root()] = append(namesOf[found.Root()], name)
	}
	var passes []rootPass
	for _, root := range o.roots.list {
		if len(names) == 0 || len(namesOf[root]) > 0 {
			passes = append(passes, rootPass{root: root, names: namesOf[root], served: o.findWatch(ctx, root)})
		}
	}
	return passes, nil
}

// prepare decides who makes a pass. If it is this process, it takes the lock: those of all
// roots, before anything is done in one.
func (o *pruneOptions) prepare(p *rootPass, counts *metrics.Root) (release func(), err error) {
	by := o.ownRules()
	switch {
	case o.dryRun:
		by = o.rulesBeside(p.served)
	case p.served.watch != nil && p.served.watch.Role == prune.RoleCollector:
		return func() {}, o.cannotServe(p.served)
	}
	if p.collector, err = o.newCollector(registry.New(p.root), by, o.dryRun, counts.Trace(), nil); err != nil {
		return nil, err
	}
	switch release, err = p.collector.Lock(); {
	case errors.Is(err, fs.ErrNotExist):
		release = func() {}
	case err != nil && p.served.err != nil:
		return nil, fmt.Errorf("%w, which cannot be asked to do it: %w", err, p.served.err)
	case err != nil:
		return nil, fmt.Errorf("%w; run this where that runs, or stop it", err)
	}
	return release, counts.Expose(p.collector, nil)
}

// read fills the registry of a pass of ours.
func (o *pruneOptions) read(ctx context.Context, p rootPass) error {
	if len(p.names) == 0 {
		return o.scan(ctx, p.collector.Registry())
	}
	for _, name := range p.names {
		err := watcher.ScanDir(ctx, p.collector.Registry(), name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it has just been removed
			return fmt.Errorf("reading daemon dir %q: %w", filepath.Join(p.root, name), err)
		}
	}
	return nil
}

func (o *pruneOptions) sweep(ctx context.Context, p rootPass, progress func() string, done *atomic.Int64) (prune.Result, error) {
	if p.collector == nil {
		return o.askSweep(ctx, p.served, p.root, p.names)
	}
	defer o.underWay.begin("the pass over " + p.root)()
	defer o.screen.follow(progress)()
	return p.collector.Sweep(ctx, func(prune.Row) { done.Add(1) })
}

// missed says which of the dirs that were named were not removed, or is nil.
func (r *pruneResult) missed(passes []rootPass, dryRun bool) error {
	named, kept := 0, []string{}
	for _, p := range passes {
		for _, name := range p.names {
			named++
			i := slices.IndexFunc(r.Daemons, func(row prune.Row) bool { return row.Dir == filepath.Join(p.root, name) })
			switch {
			case i < 0:
				kept = append(kept, fmt.Sprintf("%q was not judged: it is new, or has just been removed; try again", name))
			case r.Daemons[i].Decision != prune.Remove && !dryRun:
				kept = append(kept, fmt.Sprintf("%q was not removed: %s", name, whyNow(r.Daemons[i], time.Now())))
			}
		}
	}
	switch {
	case len(kept) == 0:
		return nil
	case named == 1:
		return errors.New(kept[0])
	}
	return fmt.Errorf("%d of %d named dirs were not removed, the first: %s", len(kept), named, kept[0])
}

// add adds what was done in one root.
func (r *pruneResult) add(swept prune.Result) {
	r.ScannedDirs += swept.Checked
	r.RemovedDirs += swept.Removed
	r.RefreshedSidecars += swept.Refreshed
	r.KeptDirs += swept.Kept
	r.FailedDirs += swept.Failed
	r.Daemons = append(r.Daemons, swept.Rows...)
}

// failure says how many dirs failed, and quotes the first error.
func (r *pruneResult) failure() error {
	err := fmt.Errorf("%d of %d dirs could not be refreshed or removed", r.FailedDirs, r.ScannedDirs)
	for _, row := range r.Daemons {
		if row.Err != nil {
			return fmt.Errorf("%w, the first: %w", err, row.Err)
		}
	}
	return err
}

// print prints what was done or, with all, also what was to be done with each dir that is kept.
func (o *pruneOptions) print(stdout io.Writer, r pruneResult, all bool) error {
	if o.json {
		return printJSON(stdout, r)
	}
	now := uint64(time.Now().UnixMilli())
	would := ""
	if r.DryRun {
		would = "would be "
	}
	for _, row := range r.Daemons {
		done := would + "removed"
		switch {
		case row.Decision == prune.Remove:
		case all, statusOf(row) == statusBlocked, row.Reason == prune.Protected && row.StaleAt.Known && row.StaleAt.MS <= now:
			done = "kept" // although it is due
		default:
			continue
		}
		dir := row.Name
		if len(o.roots.list) > 1 {
			dir = row.Dir
		}
		details := ""
		if row.Details != "" {
			details = "  " + row.Details
		}
		if _, err := fmt.Fprintf(stdout, "%s  %s  (%s)%s\n", done, daemondir.Printable(dir), row.Reason, details); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(stdout, "%d scanned, %d %sremoved, %d %srefreshed, %d kept, %d failed\n",
		r.ScannedDirs, r.RemovedDirs, would, r.RefreshedSidecars, would, r.KeptDirs, r.FailedDirs)
	return err
}

func (o *options) newCollector(reg *registry.Registry, by rules, dryRun bool, trace func(prune.TraceEvent), onRole func(prune.Role)) (*prune.Collector, error) {
	return prune.New(prune.Options{
		Registry: reg, Log: o.logOf(reg.Root()), StaleAfter: by.times.StaleAfter, SweepInterval: by.times.SweepInterval,
		InvalidAfter: by.invalidAfter, Protect: by.protect, SharedRoot: by.sharedRoot,
		DryRun: dryRun, OnRole: onRole, Trace: trace,
	})
}

// scan reads the root of reg once. A root that does not exist is empty.
func (o *options) scan(ctx context.Context, reg *registry.Registry) error {
	if err := o.checkAnswers(reg.Root()); err != nil {
		return err
	}
	defer o.underWay.begin("the reading of " + reg.Root())()
	defer o.screen.follow(func() string { return readingText(reg.Len()) })()
	return watcher.Scan(ctx, reg)
}

// dirs returns the names of the dirs in root. A root that does not exist is empty.
func (o *options) dirs(root string) ([]string, error) {
	if err := o.checkAnswers(root); err != nil {
		return nil, err
	}
	defer o.underWay.begin("the reading of " + root)()
	return watcher.Dirs(root)
}

// checkAnswers returns an error if the file system of root does not answer, and warns if there
// is no root.
func (o *options) checkAnswers(root string) error {
	switch _, err := daemondir.Stat(root); {
	case errors.Is(err, daemondir.ErrNoAnswer):
		return err
	case errors.Is(err, fs.ErrNotExist):
		log := o.logOf(root)
		log.Warn().Str("event", "root.missing").Str("dir", daemondir.Printable(root)).Msg("runtime root does not exist")
	}
	return nil
}
