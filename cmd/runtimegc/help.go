package main

// Help that belongs to no single command: the page on reasons, and shell completion.

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

const reasonsIntro = "The log and --json give each reason as a code; list gives it in words.\n"

// newReasonsTopic returns a page of help; it has no command to run.
func newReasonsTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString(reasonsIntro)
	group := ""
	for _, info := range prune.Reasons() {
		if info.Group != group {
			group = info.Group
			fmt.Fprintf(&text, "\n%s:\n", group)
		}
		fmt.Fprintf(&text, "  %-20s %s\n", info.Reason, info.Words)
	}
	return &cobra.Command{
		Use:   "reasons",
		Short: "What the reason codes mean",
		Long:  strings.TrimSuffix(text.String(), "\n"),
	}
}

// addCompletion adds cobra's command that prints completion scripts, and the completion of
// the flags that all commands have. An unknown shell is a usage error.
func addCompletion(root *cobra.Command, opts *options) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"log-format":    cobra.FixedCompletions(opts.logFormat.of, cobra.ShellCompDirectiveNoFileComp),
		"log-level":     cobra.FixedCompletions(opts.logLevel.of, cobra.ShellCompDirectiveNoFileComp),
		"shared-root":   cobra.FixedCompletions(opts.sharedRoot.of, cobra.ShellCompDirectiveNoFileComp),
		"stale-after":   cobra.NoFileCompletions,
		"invalid-after": cobra.NoFileCompletions,
		"root":          cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"protect": func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return daemonNames(cmd, opts, typed), cobra.ShellCompDirectiveNoFileComp
		},
	} {
		_ = root.RegisterFlagCompletionFunc(flag, complete) // fails only if there is no such flag
	}
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil || completion == root {
		return // cobra did not add one
	}
	completion.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, "shell", args[0])
		}
		return nil
	}
	var shells []string
	for _, shell := range completion.Commands() {
		shell.Args = noArgs
		shells = append(shells, shell.Name())
	}
	completion.RunE = func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Help()
		return usageError{fmt.Errorf("a shell is required: %s", either(shells))}
	}
}

// daemonNames returns the names in the roots that begin with what was typed, except those
// with control characters, which would garble the shell's line.
func daemonNames(cmd *cobra.Command, opts *options, typed string) []string {
	_ = fromEnvironment(cmd.Flags()) // an error is reported when the command runs
	var names []string
	for _, root := range opts.roots.list {
		entries, _ := daemondir.Within(answerTimeout, "names "+root, func() []os.DirEntry {
			entries, _ := os.ReadDir(root) // without a root there are no names
			return entries
		})
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
