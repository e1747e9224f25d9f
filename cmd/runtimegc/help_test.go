package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/prune"
)

// The help explains every reason.
func TestReasonsTopic(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"help", "reasons"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d, %s", code, &stderr)
	}
	for _, info := range prune.Reasons() {
		if !regexp.MustCompile("(?m)^ *" + string(info.Reason) + " +" + regexp.QuoteMeta(info.Words) + "$").Match(stdout.Bytes()) {
			t.Errorf("it does not explain %s", info.Reason)
		}
	}
}

// The README has the table of reasons as the program has it.
func TestREADMEHasTheReasons(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Skip("the sources are not here")
	}
	var want strings.Builder
	group := ""
	for _, info := range prune.Reasons() {
		first := ""
		if info.Group != group {
			group, first = info.Group, info.Group
		}
		fmt.Fprintf(&want, "| %s | `%s` | %s |\n", first, info.Reason, info.Words)
	}
	if !bytes.Contains(readme, []byte(want.String())) {
		t.Errorf("the README's table of reasons is not\n%s", &want)
	}
}

// The usage of a flag is its description in a shell's completion as well, where backquotes, from
// which help can take the name of the value, would be seen.
func TestUsageHasNoBackquotes(t *testing.T) {
	seen := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			flags.VisitAll(func(f *pflag.Flag) {
				if seen++; strings.Contains(f.Usage, "`") {
					t.Errorf("--%s of %s: %s", f.Name, cmd.Name(), f.Usage)
				}
			})
		}
		for _, c := range cmd.Commands() {
			check(c)
		}
	}
	check(newRootCommand(newOptions()))
	if seen < 20 {
		t.Errorf("%d flags seen", seen)
	}
}
