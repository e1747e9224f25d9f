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

// REFERENCE.md has the table of reasons as the program has it.
func TestReferenceHasTheReasons(t *testing.T) {
	readme, err := os.ReadFile("REFERENCE.md")
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
		t.Errorf("the table of reasons in REFERENCE.md is not\n%s", &want)
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

func TestFitFlags(t *testing.T) {
	const usage = `Flags:
  -h, --help[=true|false]   help for list
      --json[=true|false]   print a JSON array; with a NAME, a JSON object
      --state states        only daemons in these states

Example:
  runtimegc list --json   and more
`
	for width, want := range map[int]string{
		0: `Flags:
  -h, --help           help for list
      --json           print a JSON array; with a NAME, a JSON object
      --state states   only daemons in these states

Example:
  runtimegc list --json   and more
`,
		50: `Flags:
  -h, --help           help for list
      --json           print a JSON array; with a
                       NAME, a JSON object
      --state states   only daemons in these
                       states

Example:
  runtimegc list --json   and more
`,
	} {
		if got := fitFlags(usage, width); got != want {
			t.Errorf("width %d:\n%s", width, got)
		}
	}
}

// Every flag of every command is one that fitFlags knows.
func TestFitFlagsKnowsAllFlags(t *testing.T) {
	for _, command := range newRootCommand(newOptions()).Commands() {
		var stdout, stderr bytes.Buffer
		if run(t.Context(), []string{command.Name(), "--help"}, &stdout, &stderr); strings.Contains(stdout.String(), "[=") {
			t.Errorf("%s --help:\n%s", command.Name(), &stdout)
		}
	}
}
