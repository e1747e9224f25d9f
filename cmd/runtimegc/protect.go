package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"runtimegc/registry/daemondir"
)

func newProtectCommand(opts *options) *cobra.Command {
	return markCommand(opts, &cobra.Command{
		Use:   "protect NAME...",
		Short: "Protect the directories of daemons from removal, until unprotect",
		Long: `protect leaves a mark, a small file, in the directory of each daemon. No watch and no
prune removes the directory from then on, whatever its flags. The mark lasts when the
daemon is started again. unprotect removes it.`,
		Example: "  runtimegc protect my-daemon",
	}, daemondir.Protect, "is protected", "was protected already")
}

func newUnprotectCommand(opts *options) *cobra.Command {
	return markCommand(opts, &cobra.Command{
		Use:   "unprotect NAME...",
		Short: "Remove the mark that protect left",
		Long: `unprotect removes the mark that protect left in the directory of each daemon. A pattern
of --protect, or of runtime_gc_protect in daemon.toml, still protects it.`,
		Example: "  runtimegc unprotect my-daemon",
	}, daemondir.Unprotect, "is no longer protected by a mark", "was not protected by a mark")
}

// markCommand completes a command that changes the marks of daemons, and says of each what
// was done, or that it was so before.
func markCommand(opts *options, cmd *cobra.Command, change func(root, name string) (bool, error), done, before string) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s takes the NAME of a daemon", nameOf(cmd))}
		}
		return nil
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return daemonNames(cmd, opts, typed), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if err := opts.resolve(cmd); err != nil {
			return err
		}
		var failed error
		for _, name := range names {
			failed = errors.Join(failed, opts.mark(cmd.Context(), cmd.OutOrStdout(), name, change, done, before))
		}
		return failed
	}
	return cmd
}

func (o *options) mark(ctx context.Context, stdout io.Writer, name string, change func(root, name string) (bool, error), done, before string) error {
	reg, err := o.find(ctx, name)
	if err != nil {
		return err
	}
	changed, err := change(reg.Root(), name)
	if err != nil {
		return fmt.Errorf("changing the mark in %q: %w", filepath.Join(reg.Root(), name), err)
	}
	if !changed {
		done = before
	}
	_, err = fmt.Fprintf(stdout, "%s %s\n", daemondir.Printable(name), done)
	return err
}
