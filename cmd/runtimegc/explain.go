package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// find reads the daemon dir of that name, in whatever root it is. If several roots have one,
// the user must choose with --root.
func (o *options) find(ctx context.Context, name string) (*registry.Registry, error) {
	var found *registry.Registry
	for _, root := range o.roots.list {
		reg := registry.New(root)
		end := o.underWay.begin("the reading of " + filepath.Join(root, name))
		err := watcher.ScanDir(ctx, reg, name)
		end()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("reading daemon dir %q: %w", filepath.Join(root, name), err)
		case found != nil:
			return nil, fmt.Errorf("daemon dir %q is in root %q and in root %q; choose one with --root", name, found.Root(), root)
		default:
			found = reg
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no daemon dir %q in root %q", name, strings.Join(o.roots.list, `", "`))
	}
	return found, nil
}

// explain prints all that is known of one daemon.
func (o *listOptions) explain(ctx context.Context, stdout io.Writer, name string) error {
	found, err := o.find(ctx, name)
	if err != nil {
		return err
	}
	served := o.findWatch(ctx, found.Root())
	by := o.rulesBeside(served)
	collector, err := o.newCollector(found, by, true, nil, nil)
	if err != nil {
		return err
	}
	x, _ := collector.Explain(name)
	served.tellEnding(&x.Row)
	if o.size {
		defer o.underWay.begin("the size of " + x.Dir)()
		planner := collector.NewPlanner()
		defer planner.Close()
		if err := planner.Measure(&x.Row); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(stdout, x)
	}
	if err := printExplanation(stdout, x, time.Now(), by.times.StaleAfter); err != nil {
		return err
	}
	_, err = fmt.Fprint(stdout, "\n"+o.sharedNote(collector, served)+served.note(time.Now()))
	return err
}

func printExplanation(stdout io.Writer, x prune.Explanation, now time.Time, staleAfter time.Duration) error {
	color := wantsColor(isTerminal(stdout))
	w := bufio.NewWriter(stdout) // a tabwriter makes a write for each word
	stays := ""
	switch statusOf(x.Row) {
	case statusBlocked, statusNotDue, statusNever:
		stays = ", and stays" // the reason is why it stays, not why it is dead
	}
	fmt.Fprintf(w, "%s is %s%s: %s.\n%s\n\n", daemondir.Printable(x.Name), paint(color, x.State, string(x.State)),
		stays, whyNow(x.Row, now), whatNext(x, now, staleAfter))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "directory\t%s\n", daemondir.Printable(x.Dir))
	fmt.Fprintf(t, "pid\t%s\n", pidText(x.PID))
	for _, line := range []struct {
		title string
		at    daemondir.Timestamp
	}{
		{"spawned", x.SpawnedAt}, {"up since", x.StartedAt}, {"last seen", x.LastSeen}, {"due", x.StaleAt},
	} {
		when := "-"
		if line.at.Known {
			when = fmt.Sprintf("%s (%s)", clockTime(int64(line.at.MS), now), relative(line.at, now))
		}
		fmt.Fprintf(t, "%s\t%s\n", line.title, when)
	}
	if x.Ending != nil {
		fmt.Fprintf(t, "ended\t%s\n", x.Ending)
	}
	if x.Bytes != nil {
		fmt.Fprintf(t, "size\t%s\n", formatBytes(*x.Bytes))
	}
	fmt.Fprintf(t, "\nCHECK\tOUTCOME\tDETAILS\n")
	for _, c := range x.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Check, c.Outcome, cmp.Or(daemondir.Printable(c.Details), "-"))
	}
	return errors.Join(t.Flush(), w.Flush())
}

// whyNow is why with the figures of a daemon that has not been dead for long enough.
func whyNow(r prune.Row, now time.Time) string {
	if r.Reason != prune.NotStale || !r.LastSeen.Known || r.StaleAt.MS < r.LastSeen.MS {
		return why(r)
	}
	format := func(ms uint64) string {
		return prune.FormatDuration(prune.DurationOfMS(float64(ms)), 2)
	}
	dead := uint64(now.UnixMilli())
	return fmt.Sprintf("last seen alive %s ago, kept until %s have passed%s",
		format(dead-min(dead, r.LastSeen.MS)), format(r.StaleAt.MS-r.LastSeen.MS), endingText(r))
}

// whatNext says what will happen to the directory, and when. The sentence before it has the
// reason.
func whatNext(x prune.Explanation, now time.Time, staleAfter time.Duration) string {
	switch statusOf(x.Row) {
	case statusAlive:
		return fmt.Sprintf("Every sweep refreshes its sidecar. Its directory is removed once it has been dead for %s.", prune.FormatDuration(staleAfter, 2))
	case statusDue:
		return "The next sweep removes its directory."
	case statusBlocked:
		return "It is due: the next sweep removes it, unless this still holds."
	case statusNotDue:
		text := fmt.Sprintf("It is due %s; the first sweep after that removes it", relative(x.StaleAt, now))
		for _, c := range x.Checks {
			if c.Outcome == prune.Kept && c.Check != prune.CheckLastSeen {
				return text + ", unless this still holds: " + c.Reason.Words() + "."
			}
		}
		return text + "."
	case statusUnknown:
		if x.Reason == prune.NeverSeen {
			return "It may run on another host or in another container, whose own watch then refreshes its sidecar. If it does not, remove its directory by hand."
		}
		return "It is neither refreshed nor removed as long as this is not known."
	}
	return "It is not removed as long as this holds."
}
