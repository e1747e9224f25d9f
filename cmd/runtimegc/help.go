package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// reasonGroups are the reasons as they are told of, and when each stands.
var reasonGroups = []struct {
	title   string
	reasons []prune.Reason
}{
	{"Alive", []prune.Reason{prune.Running}},
	{"Dead", []prune.Reason{prune.Exited, prune.Zombie, prune.PIDReused, prune.NoPID}},
	{"Dead, but kept", []prune.Reason{prune.NotStale, prune.NoTimestamp, prune.Protected}},
	{"Neither dead nor alive for certain", []prune.Reason{prune.UnknownLiveness}},
	{"Due, but kept at the last look", []prune.Reason{prune.InUse, prune.Locked, prune.Respawned, prune.Changed,
		prune.MountPoint, prune.Permission, prune.Failed, prune.Gone}},
	{"Removed without a judgement of its own", []prune.Reason{prune.Leftover}},
	{"Invalid: nobody's to judge", []prune.Reason{prune.NotADaemonDir, problem(daemondir.ProblemEmpty), problem(daemondir.ProblemNotJSON),
		problem(daemondir.ProblemNotObject), problem(daemondir.ProblemNotRegular), problem(daemondir.ProblemTooLarge),
		prune.Permission, problem(daemondir.ProblemIO)}},
}

func problem(p daemondir.Problem) prune.Reason { return prune.Reason(p.String()) }

const reasonsIntro = "The log and --json give the reason as a code; list says it in words.\n"

// newReasonsTopic is no command but a page of help.
func newReasonsTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString(reasonsIntro)
	for _, group := range reasonGroups {
		fmt.Fprintf(&text, "\n%s:\n", group.title)
		for _, reason := range group.reasons {
			fmt.Fprintf(&text, "  %-20s %s\n", reason, reason.Words())
		}
	}
	return &cobra.Command{
		Use:   "reasons",
		Short: "What the codes in \"reason\" mean",
		Long:  strings.TrimSuffix(text.String(), "\n"),
	}
}
