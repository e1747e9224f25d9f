package main

// What list and prune ask the watch that serves a root; answer.go is its side.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"runtimegc/cmd/runtimegc/control"
	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// rules are what a collector goes by.
type rules struct {
	times        prune.Settings
	invalidAfter time.Duration
	protect      []string
	sharedRoot   prune.SharedRoot
}

// ownRules are those of the command line, the environment and daemon.toml.
func (o *options) ownRules() rules {
	return rules{o.times, time.Duration(o.invalidAfter), o.protected, prune.SharedRoot(o.sharedRoot.word)}
}

// A served is what is known of the watch of a root.
type served struct {
	watch *control.Found // nil: there is none that can be asked
	err   error          // why one that there is cannot be asked
	lock  prune.Holding  // the lock of the root, if there is no watch
}

// findWatch finds the watch of root.
func (o *options) findWatch(ctx context.Context, root string) (s served) {
	defer o.underWay.begin("the watch of " + root)()
	if s.watch, s.err = control.Find(ctx, root); s.watch == nil {
		s.lock, _ = daemondir.Within(answerTimeout, "the lock of "+root, func() prune.Holding { return prune.Holder(root) })
	}
	return s
}

// rulesBeside returns what the watch goes by, except for what the command line or the
// environment sets. Without a watch, they are our own.
func (o *options) rulesBeside(s served) rules {
	r := o.ownRules()
	if s.watch == nil {
		return r
	}
	if !o.flags.Changed("stale-after") {
		r.times.StaleAfter = s.watch.Times.StaleAfter
	}
	if !o.flags.Changed("protect") {
		r.protect = s.watch.Protect
	}
	if !o.flags.Changed("invalid-after") {
		r.invalidAfter = s.watch.InvalidAfter
	}
	if !o.flags.Changed("shared-root") {
		r.sharedRoot = prune.SharedNo
		if s.watch.SharedRoot {
			r.sharedRoot = prune.SharedYes
		}
	}
	return r
}

// tellEnding adds to r how the daemon has ended, which only the watch has seen.
func (s served) tellEnding(r *prune.Row) {
	if s.watch == nil {
		return
	}
	if ended, known := s.watch.Endings[r.Name]; known && r.State == prune.Dead {
		r.Ending = &ended
	}
}

// note says in one line who serves the root, and what that means.
func (s served) note(now time.Time) string {
	switch {
	case s.watch == nil && s.err != nil:
		return fmt.Sprintf("The watch of this root cannot be asked: %s.\n", daemondir.Printable(s.err.Error()))
	case s.watch == nil && s.lock.By != "":
		return fmt.Sprintf("The root is served by %s, which cannot be asked from here.\n", daemondir.Printable(s.lock.By))
	case s.watch == nil && !s.lock.Known:
		return "No watch answers for this root; whether one serves it that cannot be asked is not known here.\n"
	case s.watch == nil:
		return "No watch serves this root: nothing is removed until you run runtimegc watch, or runtimegc prune.\n"
	}
	who := fmt.Sprintf("%s since %s", s.who(), clockTime(s.watch.Since.UnixMilli(), now))
	switch s.watch.Role {
	case prune.RoleCollector:
	case prune.RoleFollower:
		return fmt.Sprintf("Watched by %s; what is due is removed by a collector on another host or in another container.\n", who)
	default:
		return fmt.Sprintf("Watched by %s; it is a dry run, and removes nothing.\n", who)
	}
	text := fmt.Sprintf("Watched by %s: stale after %s, a sweep every %s", who,
		prune.FormatDuration(s.watch.Times.StaleAfter, 2), prune.FormatDuration(s.watch.Times.SweepInterval, 2))
	if !s.watch.LastSweep.IsZero() {
		text += ", the last " + relative(daemondir.At(uint64(s.watch.LastSweep.UnixMilli())), now)
	}
	if len(s.watch.Protect) > 0 {
		text += ", protected " + daemondir.Printable(strings.Join(s.watch.Protect, " "))
	}
	return text + ".\n"
}

func (s served) who() string {
	if s.watch.PID == 0 {
		return "a process that is not visible from here"
	}
	return fmt.Sprintf("pid %d", s.watch.PID)
}

// cannotServe says why a pass with the flags of prune cannot be the watch's, or is nil.
func (o *pruneOptions) cannotServe(s served) error {
	refuse := func(flag string) error {
		return fmt.Errorf("the watch of this root (%s) has another --%s: leave yours out, or stop the watch", s.who(), flag)
	}
	own := o.ownRules()
	switch {
	case o.metrics.Textfile != "":
		return fmt.Errorf("the watch of this root (%s) makes this pass, and has the counts: give --metrics-textfile to the watch", s.who())
	case slices.ContainsFunc(own.protect, func(p string) bool { return !slices.Contains(s.watch.Protect, p) }):
		// Of the command line, or of a daemon.toml that it has not read again.
		return fmt.Errorf("the watch of this root (%s) protects other names: reload it, or leave --protect out", s.who())
	case o.flags.Changed("invalid-after") && own.invalidAfter != s.watch.InvalidAfter:
		return refuse("invalid-after")
	case own.sharedRoot != prune.SharedAuto && (own.sharedRoot == prune.SharedYes) != s.watch.SharedRoot:
		return refuse("shared-root")
	}
	return nil
}

// askSweep has the watch make a pass over the dirs of those names, or over all.
func (o *pruneOptions) askSweep(ctx context.Context, s served, root string, names []string) (prune.Result, error) {
	r := prune.Request{Names: names}
	if o.flags.Changed("stale-after") {
		r.StaleAfter = o.times.StaleAfter
	}
	defer o.underWay.begin("the answer of the watch of " + root)()
	defer o.screen.follow(func() string { return "waiting for the watch, " + s.who() })()
	result, err := s.watch.Sweep(ctx, r)
	switch {
	case errors.Is(err, context.Canceled):
		return result, fmt.Errorf("interrupted; the watch of root %q (%s) goes on with it", root, s.who())
	case err != nil:
		return result, fmt.Errorf("the watch of root %q (%s): %w", root, s.who(), err)
	}
	return result, nil
}
