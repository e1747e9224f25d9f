package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/cmd/runtimegc/metrics"
	"runtimegc/prune"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// options are the flags that all commands have, and the values that resolve derives from them.
type options struct {
	roots         paths
	staleAfter    duration
	invalidAfter  offOrDuration
	sweepInterval duration // a flag of watch only
	config        path
	logFile       path
	logFormat     choice
	logLevel      choice
	protect       globs
	sharedRoot    choice

	flags     *pflag.FlagSet
	file      configFile
	settled   fileConfig     // what file said at the start
	times     prune.Settings // in effect at the start
	protected []string       // patterns, in effect at the start
	unknown   []unknownSetting
	log       zerolog.Logger
	logOut    io.Writer // takes the lines of log
	logTo     *logFile  // nil: stderr
	stderr    io.Writer
	terminal  bool    // whether stderr was a terminal at the start
	screen    *screen // for progress; nil: there is none
	underWay  underWay
	waits     bool // for a root that does not answer
}

func newOptions() *options {
	return &options{
		roots:         paths{list: []string{daemondir.DefaultRoot()}},
		staleAfter:    duration(prune.DefaultStaleAfter),
		sweepInterval: duration(prune.DefaultSweepInterval),
		logFormat:     choice{"auto", []string{"auto", "json", "console"}},
		logLevel:      choice{"info", []string{"debug", "info", "warn", "error"}},
		sharedRoot:    choice{string(prune.SharedAuto), []string{string(prune.SharedAuto), string(prune.SharedYes), string(prune.SharedNo)}},
	}
}

func (o *options) addTo(flags *pflag.FlagSet) {
	flags.Var(&o.roots, "root", "the runtime directory of the daemons; may be repeated")
	flags.Var(&o.staleAfter, "stale-after", "how long a daemon must be dead before its directory is removed")
	flags.Var(&o.invalidAfter, "invalid-after", "remove also a directory that does not say when its daemon was last alive, if nothing in it was written for so long")
	flags.Var(&o.protect, "protect", "never remove the directory of a daemon whose name matches this pattern; may be repeated")
	flags.Var(&o.sharedRoot, "shared-root", "whether daemons of the root may run on other hosts or in other containers: "+either(o.sharedRoot.of)+"; auto is yes on a network file system")
	flags.Var(&o.config, "config", "read this file instead of the daemon manager's daemon.toml")
	flags.Var(&o.logFile, "log-file", "append the log to this file instead of stderr; on SIGHUP, watch reopens it")
	flags.Var(&o.logFormat, "log-format", either(o.logFormat.of)+"; auto is console on a terminal, else json")
	flags.Var(&o.logLevel, "log-level", either(o.logLevel.of))
}

func addTextfileFlag(flags *pflag.FlagSet, o *metrics.Options) {
	flags.Var(&o.Textfile, "metrics-textfile", "write metrics to this file for node_exporter's textfile collector")
}

// resolve is settle, and then makes the logger.
func (o *options) resolve(cmd *cobra.Command) error {
	if err := o.settle(cmd); err != nil {
		return err
	}
	defer o.underWay.begin("the log file")()
	return o.openLog()
}

// settle finds the value of every option, and checks the roots.
func (o *options) settle(cmd *cobra.Command) (err error) {
	defer o.underWay.begin("the checks of the roots and of daemon.toml")()
	o.flags = cmd.Flags()
	o.stderr = cmd.ErrOrStderr()
	o.terminal = isTerminal(o.stderr)
	if err := fromEnvironment(o.flags); err != nil {
		return err
	}
	if err := checkRoots(o.roots.list); err != nil && !(o.waits && errors.Is(err, daemondir.ErrNoAnswer)) {
		return err
	}
	if o.file, err = newConfigFile(string(o.config)); err != nil {
		return err
	}
	if o.settled, err = o.file.read(); err != nil {
		return err
	}
	o.times, o.protected = o.timesWith(o.settled.Settings), o.protectedWith(o.settled)
	o.unknown = slices.Concat(unknownVariables(cmd.Root(), os.Environ()), o.settled.unknown)
	return nil
}

// timesWith returns the times in effect, where file has those of daemon.toml.
func (o *options) timesWith(file prune.Settings) prune.Settings {
	pick := func(flag string, value duration, file time.Duration) time.Duration {
		if file > 0 && !o.flags.Changed(flag) {
			return file
		}
		return time.Duration(value)
	}
	return prune.Settings{
		StaleAfter:    pick("stale-after", o.staleAfter, file.StaleAfter),
		SweepInterval: pick("sweep-interval", o.sweepInterval, file.SweepInterval),
	}
}

// protectedWith returns the patterns in effect. Those of daemon.toml hold besides those of
// the flag: whoever protects a directory there does not want to rely on each command line.
func (o *options) protectedWith(file fileConfig) []string {
	return slices.Concat(o.protect, file.protect)
}

// sharedRootOf returns whether the root of a collector counts as shared, and why.
func (o *options) sharedRootOf(c *prune.Collector) (shared bool, because string) {
	if shared, because = c.SharedRoot(); o.sharedRoot.word != string(prune.SharedAuto) {
		because = "--shared-root " + o.sharedRoot.word
	}
	return shared, daemondir.Printable(because)
}

func (o *options) openLog() (err error) {
	out, terminal := o.stderr, o.terminal
	if terminal && os.Getenv("TERM") != "dumb" {
		o.screen = &screen{out: o.stderr}
		out = o.screen
	}
	if o.logFile != "" {
		if o.logTo, err = openLogFile(string(o.logFile), o.roots.list); err != nil {
			return err
		}
		out, terminal = o.logTo, false
	}
	journal := isJournal(out)
	form := func(out io.Writer) io.Writer {
		if o.logFormat.word == "console" || o.logFormat.word == "auto" && terminal {
			return newConsole(out, terminal, journal, len(o.roots.list))
		}
		return out
	}
	if journal {
		out = newJournalWriter(out, form)
	} else {
		out = form(out)
	}
	level, err := zerolog.ParseLevel(o.logLevel.word)
	if err != nil {
		return err
	}
	o.log, o.logOut = newLogger(out, level), out
	return nil
}

// logOf returns the logger of one root. If there are several roots, each line names its root.
func (o *options) logOf(root string) zerolog.Logger {
	if len(o.roots.list) > 1 {
		return o.log.With().Str("root", daemondir.Printable(root)).Logger()
	}
	return o.log
}

// answerTimeout is how long the file system of a root, or of daemon.toml, may take to answer.
const answerTimeout = 2 * time.Second

// checkRoots refuses roots that must not be served, and roots that overlap, because two
// collectors would work on the same directories. It returns [daemondir.ErrNoAnswer] if one of
// them does not answer, and nothing is wrong with the others.
func checkRoots(roots []string) error {
	answers := make([]bool, len(roots))
	if err := eachRoot(roots, func(i int, root string) (err error) {
		err, answers[i] = daemondir.Within(answerTimeout, "root "+root, func() error { return daemondir.CheckRoot(root) })
		return err
	}); err != nil {
		return err
	}
	var silent error
	var answering []string
	for i, root := range roots {
		if !answers[i] {
			silent = cmp.Or(silent, fmt.Errorf("root %q: %w", root, daemondir.ErrNoAnswer))
			continue
		}
		if err := refuseOverlap(answering, root); err != nil {
			return err
		}
		answering = append(answering, root)
	}
	return silent
}

// eachRoot calls f for each root, for all at a time because some may not answer, and returns
// the error of the first that has one.
func eachRoot(roots []string, f func(i int, root string) error) error {
	errs := make([]error, len(roots))
	var calls sync.WaitGroup
	for i, root := range roots {
		calls.Go(func() { errs[i] = f(i, root) })
	}
	calls.Wait()
	return cmp.Or(errs...)
}

// refuseOverlap refuses a root that overlaps with one of others.
func refuseOverlap(others []string, root string) error {
	for _, other := range others {
		a, b := watcher.Resolve(other), watcher.Resolve(root)
		switch inside, outside := within(a, b), within(b, a); {
		case inside && outside:
			return usageError{fmt.Errorf("the roots %q and %q are the same directory", other, root)}
		case inside:
			return usageError{fmt.Errorf("the root %q lies in the root %q", root, other)}
		case outside:
			return usageError{fmt.Errorf("the root %q lies in the root %q", other, root)}
		}
	}
	return nil
}

// refuseInRoot refuses to write the file path into one of the roots, because each write would
// raise an event there; an empty path is none. place is the path or its directory; symlinks in
// it are followed. What does not answer is not compared.
func refuseInRoot(what, path, place string, roots []string) error {
	if path == "" {
		return nil
	}
	return eachRoot(roots, func(_ int, root string) error {
		inside, ok := daemondir.Within(answerTimeout, place+" in "+root, func() bool {
			return within(watcher.Resolve(root), watcher.Resolve(place))
		})
		if ok && inside {
			return usageError{fmt.Errorf("%s %q lies in the root %q; keep it elsewhere", what, path, root)}
		}
		return nil
	})
}

// checkTextfile refuses a textfile in a root. If the file itself is a symlink, writing will
// replace it, not follow it.
func checkTextfile(file string, roots []string) error {
	return refuseInRoot("--metrics-textfile", file, filepath.Dir(file), roots)
}

// within reports whether path is dir or lies in it. It compares names and also files, because
// a directory may have two names. Both paths must be resolved; neither needs to exist.
func within(dir, path string) bool {
	at, err := os.Stat(dir)
	for {
		if path == dir {
			return true
		}
		if other, otherErr := os.Stat(path); err == nil && otherErr == nil && os.SameFile(at, other) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}
