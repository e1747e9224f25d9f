package main

// Help that belongs to no single command: the page on reasons, and how flags are shown.

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"regexp"
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

// fitUsage makes the usage of root and its commands width wide, 0 being no limit: pflag's lines
// are too long for a terminal, and name the values of each switch.
func fitUsage(root *cobra.Command, width int) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		var text bytes.Buffer
		cmd.SetOut(&text)
		err := usage(cmd)
		cmd.SetOut(out)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, fitFlags(text.String(), width))
		return err
	})
}

// flagLine is a line of pflag's: a flag with the name of its value, and the description.
var flagLine = regexp.MustCompile(`^( +(?:-\w, )?--[a-z-]+(?: \w+)?)(?:\[=true\|false\])? +(.*)$`)

// fitFlags wraps the descriptions of flags in usage at width, and aligns those that follow each
// other. A width of 0 is no limit.
func fitFlags(usage string, width int) string {
	var out strings.Builder
	var block [][]string
	end := func() {
		indent := 0
		for _, flag := range block {
			indent = max(indent, len(flag[1])+len("   "))
		}
		room := math.MaxInt
		if width > 0 {
			room = max(width-indent, comfortableWhy)
		}
		for _, flag := range block {
			left := flag[1]
			for _, line := range wrap(flag[2], room) {
				fmt.Fprintf(&out, "%-*s%s\n", indent, left, line)
				left = ""
			}
		}
		block = nil
	}
	for line := range strings.Lines(usage) {
		if flag := flagLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); flag != nil {
			block = append(block, flag)
			continue
		}
		end()
		out.WriteString(line)
	}
	end()
	return out.String()
}
