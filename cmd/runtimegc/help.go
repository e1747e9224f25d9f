package main

// Help that belongs to no single command: the page on reasons.

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"runtimegc/prune"
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
