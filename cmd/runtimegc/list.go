package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

type listOptions struct {
	*options
	json   bool
	states []string
}

func newListCommand(opts *options) *cobra.Command {
	l := &listOptions{options: opts}
	cmd := &cobra.Command{
		Use:   "list [NAME]",
		Short: "Show the daemons, when each is removed, and why it still is there",
		Long: `list reads each runtime root once and shows every directory in it: whether its daemon
is alive, when the directory is removed, and why it still is there. What goes next
comes first, what lives last; --json sorts by name.

REMOVED IN is how long that takes, if nothing happens; "now" is the next sweep;
"kept" is due, but kept for the reason given; "never" is not removed at all.

With the NAME of a daemon it shows all that is known of that one: each question that
decides what becomes of it, in order, and the answer.

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
			if err := l.checkStates(cmd.Flags().Changed("state"), len(args) > 0); err != nil {
				return err
			}
			if len(args) > 0 {
				return l.explain(cmd.Context(), cmd.OutOrStdout(), args[0])
			}
			return l.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&l.json, "json", false, "print one JSON array; with a NAME one object")
	cmd.Flags().StringSliceVar(&l.states, "state", nil, "only daemons in these `states`: "+stateNames)
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateList, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var (
	stateList  = []string{string(prune.Alive), string(prune.Dead), string(prune.Unknown), string(prune.Invalid)}
	stateNames = strings.Join(stateList, ", ")
)

func (o *listOptions) checkStates(given, named bool) error {
	switch {
	case !given:
		return nil
	case named:
		return usageError{errors.New("--state and a NAME exclude each other")}
	case len(o.states) == 0:
		return usageError{errors.New("--state is empty, not some of " + stateNames)}
	}
	for _, state := range o.states {
		if !slices.Contains(stateList, state) {
			return usageError{fmt.Errorf("--state has %q, which is none of %s", state, stateNames)}
		}
	}
	return nil
}

func (o *listOptions) run(ctx context.Context, stdout io.Writer) error {
	all := []prune.Row{}
	tables := make([][]prune.Row, len(o.roots.list))
	for i, root := range o.roots.list {
		collector, _, err := o.scan(ctx, root, true, func(*prune.Options) {})
		if err != nil {
			return err
		}
		rows := collector.List()
		collector.Close()
		if len(o.states) > 0 {
			rows = slices.DeleteFunc(rows, func(r prune.Row) bool { return !slices.Contains(o.states, string(r.State)) })
		}
		slices.SortFunc(rows, func(a, b prune.Row) int { return cmp.Compare(a.Name, b.Name) })
		tables[i] = rows
		all = append(all, rows...)
	}
	if o.json {
		for i := range all {
			all[i].Decision = "" // that of prune --json
		}
		return printJSON(stdout, all)
	}
	for i, rows := range tables {
		// A table each, under its name, as ls has it.
		if len(tables) > 1 {
			fmt.Fprintf(stdout, "%s%s:\n", strings.Repeat("\n", min(i, 1)), daemondir.Printable(o.roots.list[i]))
		}
		slices.SortFunc(rows, nextFirst)
		if err := printTable(stdout, rows, time.Now(), wantsColor(isTerminal(stdout))); err != nil {
			return err
		}
	}
	return nil
}

// daemonNames are the names in the roots that begin with what was typed, for a shell to
// choose from. Those that would break its lines are left out.
func daemonNames(cmd *cobra.Command, opts *options, typed string) []string {
	_ = fromEnvironment(cmd.Flags()) // what is wrong there is said when the command runs
	var names []string
	for _, root := range opts.roots.list {
		entries, _ := os.ReadDir(root) // no root, no names
		for _, entry := range entries {
			if name := entry.Name(); entry.IsDir() && strings.HasPrefix(name, typed) && daemondir.Printable(name) == name {
				names = append(names, name)
			}
		}
	}
	// Two roots may have the same name, and cobra parses --root more than once.
	slices.Sort(names)
	return slices.Compact(names)
}

// A fate is what is in store for a dir; in the table they come in this order.
type fate int

const (
	fateDue   fate = iota // the next sweep removes it
	fateKept              // it is due, but something is in the way
	fateLater             // it is not yet due
	fateNever             // dead, and not removed
	fateUnknown
	fateInvalid
	fateAlive
)

func fateOf(r prune.Row) fate {
	switch {
	case r.Decision == prune.Remove:
		return fateDue
	case r.State == prune.Alive:
		return fateAlive
	case r.State == prune.Unknown:
		return fateUnknown
	case r.State == prune.Invalid:
		return fateInvalid
	case r.Reason == prune.NotStale:
		return fateLater
	case r.Reason == prune.Protected, r.Reason == prune.NoTimestamp:
		return fateNever
	}
	return fateKept
}

// nextFirst sorts rows: what goes next comes first, what lives last.
func nextFirst(a, b prune.Row) int {
	return cmp.Or(
		cmp.Compare(fateOf(a), fateOf(b)),
		cmp.Compare(a.StaleAt.MS, b.StaleAt.MS),
		cmp.Compare(a.Name, b.Name),
	)
}

// removedIn says how long it takes until the dir is removed.
func removedIn(r prune.Row, now time.Time) string {
	switch fateOf(r) {
	case fateDue:
		return "now"
	case fateKept:
		return "kept"
	case fateLater:
		return strings.TrimPrefix(relative(r.StaleAt, now), "in ")
	case fateNever, fateInvalid:
		return "never"
	}
	return "-"
}

// why says the reason in words, and what the system refused, if it did.
func why(r prune.Row) string {
	if r.Err != nil {
		return r.Reason.Words() + ": " + daemondir.Printable(r.Err.Error())
	}
	return r.Reason.Words()
}

func printTable(w io.Writer, rows []prune.Row, now time.Time, color bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "NAME\t%s\tPID\tUP SINCE\tLAST SEEN\tREMOVED IN\tWHY\n", paint(color, "", "STATE"))
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", daemondir.Printable(r.Name), paint(color, r.State, string(r.State)),
			pidText(r.PID), upSince(r.StartedAt, now), relative(r.LastSeen, now), removedIn(r, now), why(r))
	}
	return t.Flush()
}

// paint gives text the colour of a state, if any. Whatever the state, as many bytes are
// added: tabwriter counts them, and the columns stay aligned.
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
	return clock(int64(t.MS), now)
}

// relative writes a time as seen from now: "3h ago", "in 5h 12m", "now", or "-" if it is
// unknown.
func relative(t daemondir.Timestamp, now time.Time) string {
	if !t.Known {
		return "-"
	}
	// In whole seconds.
	span := func(ms uint64, parts int) string {
		return prune.FormatDuration(prune.DurationOfMS(float64(ms)).Truncate(time.Second), parts)
	}
	at := uint64(now.UnixMilli())
	switch {
	case t.MS > at+999:
		return "in " + span(t.MS-at, 2)
	case t.MS+999 < at:
		return span(at-t.MS, 1) + " ago"
	}
	return "now"
}
