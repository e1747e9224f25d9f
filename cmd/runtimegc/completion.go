package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// addCompletion adds cobra's command that prints a shell's completion script, and what
// the flags of all commands can be completed with. A shell that cobra does not know is
// a mistake in usage, as elsewhere.
func addCompletion(root *cobra.Command, opts *options) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"log-format":  cobra.FixedCompletions([]string{"auto", "json", "console"}, cobra.ShellCompDirectiveNoFileComp),
		"log-level":   cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp),
		"stale-after": cobra.NoFileCompletions,
		"root":        cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"protect": func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return daemonNames(cmd, opts, typed), cobra.ShellCompDirectiveNoFileComp
		},
	} {
		_ = root.RegisterFlagCompletionFunc(flag, complete) // fails for a flag that there is not
	}
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil || completion == root {
		return // cobra has none to add
	}
	completion.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("there is no completion for the shell %q", args[0])}
		}
		return nil
	}
	completion.RunE = func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Help()
		return usageError{fmt.Errorf("a shell is needed: bash, zsh, fish or powershell")}
	}
	for _, shell := range completion.Commands() {
		shell.Args = noArgs
	}
}
