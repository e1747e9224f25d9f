// Command runtimegc watches the runtime directories of daemons and removes those whose
// daemon is long dead, without ever touching a live one.
//
// It turns flags into the options of the packages that do the work, makes the logger, starts
// the goroutines and waits for them. The exit code is 0 for success, 1 for failure and 2 for
// a usage error. The log goes to stderr, results go to stdout.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"runtimegc/registry/daemondir"
)

func main() {
	prepareCrash()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// usageError says that the command line, or a variable that sets a flag, is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts := newOptions()
	cmd := newRootCommand(opts)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	fitUsage(cmd, widthOf(stdout))
	flush := bufferCompletion(cmd, args, stdout)
	var ran atomic.Pointer[cobra.Command] // the one whose usage may be wrong
	err := endInTime(ctx, endTimeout, &opts.underWay, func(ctx context.Context) error {
		c, err := cmd.ExecuteContextC(ctx)
		ran.Store(c)
		flush()
		return err
	})
	if err == nil {
		return 0
	}
	last, code := fmt.Sprintf("runtimegc: %s\n", daemondir.Printable(err.Error())), 1
	var usage usageError
	if errors.As(err, &usage) {
		last, code = last+fmt.Sprintf("Run '%s --help' for usage.\n", strings.TrimSuffix(ran.Load().CommandPath(), " help")), 2
	}
	writeInTime(stderr, lastLineTimeout, forJournal(stderr, journal.PriErr, last))
	return code
}

// warn tells the user of what is no error. The text is printable.
func warn(stderr io.Writer, text string) {
	fmt.Fprint(stderr, forJournal(stderr, journal.PriWarning, "runtimegc: warning: "+text+"\n"))
}

func newRootCommand(opts *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "runtimegc",
		Short:   "Remove the runtime directories of daemons that are long dead",
		Version: versionDetails(),
		Long: `runtimegc watches the directories that running-process makes for its daemons. It removes
the directory of a daemon that has been dead for --stale-after, and never that of a live
one. When a daemon was last seen alive stands in its sidecar, the file NAME.daemon.json
in its directory: as long as the daemon lives, runtimegc refreshes that time.

To protect a directory from removal, use runtimegc protect NAME; or give a pattern that
matches its name to --protect; or hold a lock on it: flock -s DIR sleep infinity.`,
		Example: `  runtimegc watch
  runtimegc list
  runtimegc prune --dry-run --stale-after 30m`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, "command", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return usageError{errors.New("a command is required: watch, prune or list")}
		},
	}
	cmd.SetFlagErrorFunc(flagError)
	opts.addTo(cmd.PersistentFlags())
	cmd.AddCommand(newWatchCommand(opts), newPruneCommand(opts), newListCommand(opts),
		newProtectCommand(opts), newUnprotectCommand(opts), newServiceCommand(opts), newConfigCommand(opts),
		newVersionCommand(), newReasonsTopic())
	addMan(cmd)
	addHelp(cmd)
	addCompletion(cmd, opts)
	return cmd
}

// nameOf returns the words after runtimegc that call a command.
func nameOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// noArgs refuses arguments with a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", nameOf(cmd), args[0])}
	}
	return nil
}

// atMostOne refuses a second argument with a usage error.
func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes at most one %s, got %q as well", nameOf(cmd), name, args[1])}
		}
		return nil
	}
}

// version returns the version of the module, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return cmp.Or(buildSetting(info, "vcs.revision"), "devel")
}

// versionDetails is what --version prints: the version, the commit, Go's version and the
// platform.
func versionDetails() string {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		commit = cmp.Or(buildSetting(info, "vcs.revision"), commit)
		if buildSetting(info, "vcs.modified") == "true" {
			commit += " and changes"
		}
	}
	return fmt.Sprintf("%s (commit %s, %s, %s/%s)", version(), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// newVersionCommand makes the command that prints what --version does.
func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "runtimegc version %s\n", versionDetails())
			return err
		},
	}
}

func buildSetting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
