// Command runtimegc watches the runtime directories of daemons and removes those whose
// daemon is long dead, without ever touching a live one.
//
// This package turns flags into the structs of the packages that do the work, makes
// the logger, starts and waits for the goroutines, and sets the exit code: 0 done,
// 1 failed, 2 wrong usage. Logs go to stderr, results to stdout.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"runtimegc/registry/daemondir"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := newRootCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "runtimegc: %s\n", daemondir.Printable(err.Error()))
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(stderr, "Run 'runtimegc --help' for usage.")
		return 2
	}
	return 1
}

func newRootCommand() *cobra.Command {
	opts := newOptions()
	cmd := &cobra.Command{
		Use:     "runtimegc",
		Short:   "Remove the runtime directories of daemons that are long dead",
		Version: build(),
		Long: `runtimegc watches the directories that running-process makes for its daemons,
refreshes the sidecars of those that live, and removes those whose daemon has been
dead for longer than --stale-after. It never touches the directory of a live one.

A directory is protected from removal by --protect with a pattern that its name
matches, or by a flock on it: flock -s DIR sleep infinity.`,
		Example: `  runtimegc watch
  runtimegc list
  runtimegc prune --dry-run --stale-after 30m`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help() // to stdout, as its result
			return usageError{errors.New("a command is needed: watch, prune or list")}
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	opts.addTo(cmd.PersistentFlags())
	cmd.AddCommand(newWatchCommand(opts), newPruneCommand(opts), newListCommand(opts), newServiceCommand(opts),
		newReasonsTopic())
	addMan(cmd)
	addCompletion(cmd, opts)
	return cmd
}

// atMostOne refuses more than one argument, as a mistake in usage.
func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes at most one %s, got %q as well", cmd.CommandPath(), name, args[1])}
		}
		return nil
	}
}

// noArgs refuses arguments, as a mistake in usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
