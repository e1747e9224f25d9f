package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

type listOptions struct {
	*options
	json   bool
	size   bool
	states choices
}

func newListCommand(opts *options) *cobra.Command {
	l := &listOptions{options: opts, states: choices{of: []string{
		string(prune.Alive), string(prune.Dead), string(prune.Unknown), string(prune.Invalid),
	}}}
	cmd := &cobra.Command{
		Use:   "list [NAME]",
		Short: "Show the daemons, when each directory is removed, and why it is still there",
		Long: `list reads each runtime root once and shows every directory in it: whether its daemon
is alive, when the directory is removed, and why it is still there. What is removed
next comes first, and what is alive comes last; --json sorts by name. The lines below
the table speak of all daemons in the root, whatever --state hides.

STATE is that of the daemon: alive; dead; unknown, if that cannot be determined, so that
the directory is kept; or invalid, if the directory has no sidecar that can be used.

REMOVED IN is the time until the directory may be removed, if nothing happens. "now"
means by the next sweep; "kept" means that the time is over, but that the directory is
kept for the reason shown; "never" means not at all; "-" that its daemon is alive, or
may be.

SIZE, with --size, is what the removal of the directory frees. A file counts only if it
has no other link: a trampoline is often a link to a binary that all daemons share.

On a narrow terminal, UP SINCE, PID and LAST SEEN are left out, in this order, WHY is
wrapped, and long names are cut in the middle. The variable COLUMNS overrides the
terminal's width. A file or a pipe gets everything, unless COLUMNS is set.

With the NAME of a daemon it shows all that is known of that one, and every check that
decides what happens to its directory, in order.

If a watch serves the root, list goes by what that watch goes by, except for what the
command line or the environment sets, and says which watch that is.

list changes nothing, takes no lock, and may run beside a watch.`,
		Example: `  runtimegc list
  runtimegc list --state dead,unknown
  runtimegc list my-daemon
  runtimegc list --json | jq -r '.[] | select(.state == "dead") | .dir'`,
		Args: atMostOne("NAME"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return daemonNames(cmd, opts, typed), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.resolve(cmd); err != nil {
				return err
			}
			if len(args) == 0 {
				return l.run(cmd.Context(), cmd.OutOrStdout())
			}
			if len(l.states.words) > 0 {
				return usageError{errors.New("--state cannot be combined with a NAME")}
			}
			return l.explain(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	cmd.Flags().BoolVar(&l.json, "json", false, "print a JSON array; with a NAME, a JSON object")
	cmd.Flags().BoolVar(&l.size, "size", false, "show what the removal of each directory would free; takes longer, because all of them are read")
	cmd.Flags().Var(&l.states, "state", "only daemons in these states: "+strings.Join(l.states.of, ", "))
	_ = cmd.RegisterFlagCompletionFunc("state", oneOrMore(l.states.of))
	return cmd
}

// A listed is a root that is listed.
type listed struct {
	collector *prune.Collector
	planner   *prune.Planner
	served    served
	names     []string // of the dirs in it
}

func (l listed) root() string { return l.collector.Registry().Root() }

func (o *listOptions) run(ctx context.Context, stdout io.Writer) error {
	var roots []listed
	for _, root := range o.roots.list {
		served := o.findWatch(ctx, root)
		collector, err := o.newCollector(registry.New(root), o.rulesBeside(served), true, nil, nil)
		if err != nil {
			return err
		}
		names, err := o.dirs(root)
		if err != nil {
			return err
		}
		planner := collector.NewPlanner()
		defer planner.Close()
		roots = append(roots, listed{collector, planner, served, names})
	}
	if o.json {
		return o.printArray(ctx, stdout, roots)
	}
	return o.printTables(ctx, stdout, roots)
}

// printArray prints each row as soon as it is known. If it fails, the array has no end.
func (o *listOptions) printArray(ctx context.Context, stdout io.Writer, roots []listed) error {
	array := newJSONArray(stdout)
	for _, l := range roots {
		if err := o.judge(ctx, l, isTerminal(stdout), func(r prune.Row) error {
			if !shows(o.states.words, r.State) {
				return nil
			}
			r.Decision = "" // only prune --json has it
			return array.add(r)
		}); err != nil {
			return err
		}
	}
	return array.end()
}

// printTables prints the tables when all of their rows are known.
func (o *listOptions) printTables(ctx context.Context, stdout io.Writer, roots []listed) error {
	keepHeapSmall()
	var listings []*listing
	for _, l := range roots {
		table := &listing{root: l.root(), at: l.planner.At, states: o.states.words, sizes: o.size}
		table.rows = make([]tableRow, 0, len(l.names)) // to grow takes more than twice the memory
		if err := o.judge(ctx, l, false, func(r prune.Row) error {
			table.add(r)
			return nil
		}); err != nil {
			return err
		}
		table.note = o.sharedNote(l.collector, l.served) + l.served.note(time.Now())
		listings = append(listings, table)
	}
	for i, l := range listings {
		// If there are several roots, each table has the root's path above it, as in ls.
		if len(listings) > 1 {
			fmt.Fprintf(stdout, "%s%s:\n", strings.Repeat("\n", min(i, 1)), daemondir.Printable(l.root))
		}
		if err := l.print(stdout, time.Now(), widthOf(stdout), wantsColor(isTerminal(stdout))); err != nil {
			return err
		}
	}
	return nil
}

// judge calls visit with the row of each dir, in the order of their names. Quietly, it shows no
// progress.
func (o *listOptions) judge(ctx context.Context, l listed, quietly bool, visit func(prune.Row) error) error {
	defer o.underWay.begin("the reading of " + l.root())()
	var judged atomic.Int64
	if !quietly {
		defer o.screen.follow(func() string { return readingText(int(judged.Load())) })()
	}
	return watcher.ReadDirs(ctx, l.root(), l.names, func(e daemondir.Entry) error {
		row := l.planner.Judge(e)
		l.served.tellEnding(&row)
		if err := o.measure(l.planner, &row); err != nil {
			return err
		}
		judged.Add(1)
		return visit(row)
	})
}

// measure finds out the sizes that are shown: those of all rows if the user asked for them,
// else those of what the next sweep removes.
func (o *listOptions) measure(p *prune.Planner, r *prune.Row) error {
	if o.size || !o.json && statusOf(*r) == statusDue {
		return p.Measure(r)
	}
	return nil
}

// sharedNote says below the table what a shared root means, or is empty.
func (o *options) sharedNote(c *prune.Collector, s served) string {
	shared, because := o.sharedRootOf(c)
	if s.watch != nil && !o.flags.Changed("shared-root") {
		because = daemondir.Printable(s.watch.SharedRootBecause)
	}
	if !shared {
		return ""
	}
	return "The root is shared (" + because + "): a daemon without a process here is dead only if a collector has seen it alive.\n"
}

// A status says whether and when a directory is removed. The table is sorted in this order.
type status uint8

const (
	statusDue     status = iota // the next sweep removes it
	statusBlocked               // due, but something keeps it
	statusNotDue                // dead, but not for long enough
	statusNever                 // dead, but not to be removed
	statusUnknown
	statusInvalid
	statusAlive
)

func statusOf(r prune.Row) status {
	switch {
	case r.Decision == prune.Remove:
		return statusDue
	case r.State == prune.Alive:
		return statusAlive
	case r.State == prune.Unknown:
		return statusUnknown
	case r.State == prune.Invalid && !r.StaleAt.Known:
		return statusInvalid
	case r.Reason == prune.NotStale, r.StaleAt.Known && (r.State == prune.Invalid || r.Reason == prune.NoTimestamp):
		return statusNotDue
	case r.Reason == prune.Protected, r.Reason == prune.NoTimestamp:
		return statusNever
	}
	return statusBlocked
}

// why returns the reason in words, with the error of the system, if there was one, and with
// what protects the directory, and with how the daemon has ended.
func why(r prune.Row) string {
	text := r.Reason.Words()
	switch {
	case r.Err != nil:
		text += ": " + daemondir.Printable(r.Err.Error())
	case r.Reason == prune.Protected && r.ProtectedBy != "":
		text += " by " + r.ProtectedBy
	case r.Details != "":
		text += ": " + r.Details
	}
	if r.Details != "" {
		return text // an ending would be read as that of the user
	}
	return text + endingText(r)
}

// endingText says how the daemon has ended, if that is known.
func endingText(r prune.Row) string {
	if r.Ending == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", r.Ending)
}

// paint gives text the colour of a state.
func paint(color bool, state prune.State, text string) string {
	if !color {
		return text
	}
	digit := map[prune.State]string{prune.Alive: "2", prune.Dead: "3", prune.Unknown: "5", prune.Invalid: "1"}[state]
	return "\x1b[3" + cmp.Or(digit, "9") + "m" + text + "\x1b[39m"
}

func pidText(pid daemondir.PID) string {
	if !pid.Known {
		return "-"
	}
	return strconv.FormatUint(uint64(pid.N), 10)
}

func upSince(t daemondir.Timestamp, now time.Time) string {
	if !t.Known {
		return "-"
	}
	return clockTime(int64(t.MS), now)
}

// relative returns a time relative to now: "3h ago", "in 5h 12m", "now", or "-" if it is
// unknown.
func relative(t daemondir.Timestamp, now time.Time) string {
	if !t.Known {
		return "-"
	}
	format := func(ms uint64, parts int) string {
		return prune.FormatDuration(prune.DurationOfMS(float64(ms)).Truncate(time.Second), parts)
	}
	at := uint64(now.UnixMilli())
	switch {
	case t.MS > at+999:
		return "in " + format(t.MS-at, 2)
	case t.MS+999 < at:
		return format(at-t.MS, 1) + " ago"
	}
	return "now"
}
