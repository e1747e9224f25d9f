package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
		Use:   "prune",
		Short: "Make one pass over the runtime roots and exit",
		Long: `prune reads each runtime root once, refreshes the sidecars of live daemons, removes the
directories of those that have been dead for --stale-after, and prints what it did. If
one of several roots cannot be served, none is touched.

--metrics-textfile FILE writes the counts of this one pass for node_exporter's textfile
collector.`,
		Example: `  runtimegc prune --dry-run
  runtimegc prune --stale-after 24h --json
  runtimegc prune --root ~/a/runtime --root ~/b/runtime`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolve(cmd); err != nil {
				return err
			}
			if err := checkTextfile(p.metrics.Textfile.String(), p.roots.list); err != nil {
				return err
			}
			return p.run(cmd.Context(), cmd.OutOrStdout())
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

func (o *pruneOptions) run(ctx context.Context, stdout io.Writer) error {
	// What prune did is its result, on stdout; the log is only for problems.
	o.log = o.log.Level(max(o.log.GetLevel(), zerolog.WarnLevel))
	published, err := metrics.Open(ctx, o.metrics, version())
	if err != nil {
		return err
	}
	var collectors []*prune.Collector
	for _, root := range o.roots.list {
		counts := published.Root(root)
		collector, err := o.newCollector(registry.New(root), o.dryRun, counts.Trace(), nil)
		if err != nil {
			return err
		}
		// Take all locks before doing anything.
		switch release, err := collector.Lock(); {
		case err == nil:
			defer release()
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := counts.Expose(collector, nil); err != nil {
			return err
		}
		collectors = append(collectors, collector)
	}
	dirs := 0
	for _, collector := range collectors {
		if err := o.scan(ctx, collector.Registry()); err != nil {
			return err
		}
		dirs += collector.Registry().Len()
	}
	result := pruneResult{DryRun: o.dryRun, Daemons: []prune.Row{}}
	var done atomic.Int64
	stop := o.screen.follow(func() string { return fmt.Sprintf("pruning: %d of %d dirs", done.Load(), dirs) })
	for _, collector := range collectors {
		end := o.underWay.begin("the pass over " + collector.Registry().Root())
		swept, err := collector.Sweep(ctx, func(prune.Row) { done.Add(1) })
		end()
		if err != nil {
			stop()
			return err
		}
		result.add(swept)
	}
	stop()
	slices.SortFunc(result.Daemons, func(a, b prune.Row) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Dir, b.Dir))
	})
	if err := errors.Join(o.print(stdout, result), published.WriteTextfile()); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; what had begun was finished, the rest was not done")
	case result.FailedDirs > 0:
		return result.failure()
	}
	return nil
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

func (o *pruneOptions) print(stdout io.Writer, r pruneResult) error {
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
		case statusOf(row) == statusBlocked, row.Reason == prune.Protected && row.StaleAt.Known && row.StaleAt.MS <= now:
			done = "kept" // although it is due
		default:
			continue
		}
		dir := row.Name
		if len(o.roots.list) > 1 {
			dir = row.Dir
		}
		if _, err := fmt.Fprintf(stdout, "%s  %s  (%s)\n", done, daemondir.Printable(dir), row.Reason); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(stdout, "%d scanned, %d %sremoved, %d %srefreshed, %d kept, %d failed\n",
		r.ScannedDirs, r.RemovedDirs, would, r.RefreshedSidecars, would, r.KeptDirs, r.FailedDirs)
	return err
}

func (o *options) newCollector(reg *registry.Registry, dryRun bool, trace func(prune.TraceEvent), onRole func(prune.Role)) (*prune.Collector, error) {
	return prune.New(prune.Options{
		Registry: reg, Log: o.logOf(reg.Root()), StaleAfter: o.times.StaleAfter, SweepInterval: o.times.SweepInterval,
		InvalidAfter: time.Duration(o.invalidAfter), Protect: o.protected,
		SharedRoot: prune.SharedRoot(o.sharedRoot.word), DryRun: dryRun, OnRole: onRole, Trace: trace,
	})
}

// scan reads the root of reg once. A root that does not exist is empty.
func (o *options) scan(ctx context.Context, reg *registry.Registry) error {
	switch _, err := daemondir.Stat(reg.Root()); {
	case errors.Is(err, daemondir.ErrNoAnswer):
		return err
	case errors.Is(err, fs.ErrNotExist):
		log := o.logOf(reg.Root())
		log.Warn().Str("event", "root.missing").Str("dir", daemondir.Printable(reg.Root())).Msg("runtime root does not exist")
	}
	defer o.underWay.begin("the reading of " + reg.Root())()
	defer o.screen.follow(func() string { return readingText(reg.Len()) })()
	return watcher.Scan(ctx, reg)
}

// printJSON prints v. It also escapes DEL and the C1 control characters, which are valid in
// JSON, but which a terminal may obey.
func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	var out bytes.Buffer
	for _, r := range text.String() {
		if 0x7f <= r && r < 0xa0 {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err := out.WriteTo(w)
	return err
}
