package main

import (
	"bytes"
	"strings"
	"testing"
)

// What is mistyped is answered with what it is near to, and with the help to ask for.
func TestTypos(t *testing.T) {
	for args, want := range map[string][]string{
		"lst":                    {`unknown command "lst"; did you mean list?`, "'runtimegc --help'"},
		"pro web":                {`unknown command "pro"; did you mean protect?`},
		"frob":                   {`unknown command "frob"` + "\n"},
		"help wach":              {`unknown help topic "wach"; did you mean watch?`, "'runtimegc --help'"},
		"help list web":          {`unknown help topic "web"` + "\n"},
		"list --stal-after":      {"--stal-after; did you mean --stale-after?", "'runtimegc list --help'"},
		"prune --dryrun":         {"--dryrun; did you mean --dry-run?", "'runtimegc prune --help'"},
		"list --dry-run":         {"--dry-run\n"},
		"list --state ded":       {"did you mean dead?", "'runtimegc list --help'"},
		"list --log-format yaml": {"it must be auto, json or console\n"},
		"list --log-format jsno": {"did you mean json?"},
		"completion bsh":         {`unknown shell "bsh"; did you mean bash or zsh?`, "'runtimegc completion --help'"},
		"service launch":         {"did you mean launchd?"},
		"watch web":              {`watch takes no arguments, got "web"`, "'runtimegc watch --help'"},
		"completion bash x":      {`completion bash takes no arguments, got "x"`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(args), &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q", args, code, &stdout)
		}
		for _, part := range want {
			if !strings.Contains(stderr.String(), part) {
				t.Errorf("%s: want %q in %q", args, part, &stderr)
			}
		}
	}
}

func TestVersionCommand(t *testing.T) {
	var command, flag, stderr bytes.Buffer
	if code := run(t.Context(), []string{"version"}, &command, &stderr); code != 0 {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
	run(t.Context(), []string{"--version"}, &flag, &stderr)
	if command.String() != flag.String() || !strings.HasPrefix(command.String(), "runtimegc version ") {
		t.Errorf("version prints %q, --version %q", &command, &flag)
	}
}
