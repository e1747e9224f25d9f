package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
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

func (o *listOptions) run(ctx context.Context, stdout io.Writer) error {
	all := []prune.Row{}
	var listings []listing
	for _, root := range o.roots.list {
		served := o.findWatch(ctx, root)
		collector, err := o.newCollector(registry.New(root), o.rulesBeside(served), true, nil, nil)
		if err != nil {
			return err
		}
		if err := o.scan(ctx, collector.Registry()); err != nil {
			return err
		}
		end := o.underWay.begin("the checks of " + root)
		rows := collector.Plan(ctx).Rows
		end()
		served.tellEndings(rows)
		if err := o.measure(ctx, collector, rows); err != nil {
			return err
		}
		note := o.sharedNote(collector, served) + served.note(time.Now())
		listings = append(listings, listing{root, rows, o.states.words, o.size, note})
	}
	if o.json {
		for _, l := range listings {
			rows := l.shown()
			slices.SortFunc(rows, func(a, b prune.Row) int { return cmp.Compare(a.Name, b.Name) })
			all = append(all, rows...)
		}
		for i := range all {
			all[i].Decision = "" // only prune --json has it
		}
		return printJSON(stdout, all)
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

// measure finds out the sizes that are shown: those of all rows if the user asked for them,
// else those of what the next sweep removes.
func (o *listOptions) measure(ctx context.Context, c *prune.Collector, rows []prune.Row) error {
	defer o.underWay.begin("the sizes of the directories in " + c.Registry().Root())()
	return c.Measure(ctx, rows, func(r prune.Row) bool {
		return o.size || !o.json && statusOf(r) == statusDue
	})
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
type status int

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

// removedIn writes the time until the directory is removed.
func removedIn(r prune.Row, now time.Time) string {
	switch statusOf(r) {
	case statusDue:
		return "now"
	case statusBlocked:
		return "kept"
	case statusNotDue:
		if r.StaleAt.MS <= uint64(now.UnixMilli()) {
			return "kept" // by a file in it that was written later
		}
		return strings.TrimPrefix(relative(r.StaleAt, now), "in ")
	case statusNever, statusInvalid:
		return "never"
	}
	return "-"
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
