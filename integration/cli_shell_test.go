package integration

// What a user's shell and man make of the program.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A shell asks the program itself what may come next: names of daemons, states, flags.
func TestCompletes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"web-1", "web-2", "db"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS != "windows" { // names that would break a shell's lines are not offered
		if err := os.Mkdir(filepath.Join(root, "web\n3"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		args []string
		want []string
	}{
		{[]string{"list", "--root", root, ""}, []string{"db", "web-1", "web-2"}},
		{[]string{"list", "--root", root, "w"}, []string{"web-1", "web-2"}},
		{[]string{"list", "--root", root, "web-1", ""}, nil},
		{[]string{"list", "--root", filepath.Join(root, "none"), ""}, nil},
		{[]string{"prune", "--root", root, "--protect", "d"}, []string{"db"}},
		{[]string{"list", "--state", ""}, []string{"alive", "dead", "unknown", "invalid"}},
		{[]string{"watch", "--log-format", ""}, []string{"auto", "json", "console"}},
		{[]string{"watch", ""}, nil},
		{[]string{"completion", ""}, []string{"bash", "fish", "powershell", "zsh"}},
		{[]string{""}, []string{"completion", "help", "list", "prune", "service", "watch"}},
	} {
		o := run(t, append([]string{"__complete"}, row.args...)...).must(t)
		var got []string
		for _, line := range strings.Split(o.stdout, "\n") {
			if name, _, _ := strings.Cut(line, "\t"); name != "" && name[0] != ':' {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%q completes to %q, want %q", row.args, got, row.want)
		}
	}
}

// The scripts are accepted by their shells, as far as those are here.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, check := range map[string][]string{
		"bash":       {"bash", "-n"},
		"zsh":        {"zsh", "-n"},
		"fish":       {"fish", "--no-execute"},
		"powershell": {"pwsh", "-NoProfile", "-File"},
	} {
		t.Run(shell, func(t *testing.T) {
			script := run(t, "completion", shell).must(t).stdout
			if !strings.Contains(script, "runtimegc") {
				t.Fatalf("no script for runtimegc:\n%s", script)
			}
			path, err := exec.LookPath(check[0])
			if err != nil {
				t.Skip(err)
			}
			file := filepath.Join(t.TempDir(), "completion.ps1")
			if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, append(check[1:], file)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%q: %v\n%s", check, err, out)
			}
		})
	}
	for _, args := range []string{"completion", "completion tcsh", "completion bash more"} {
		if o := run(t, strings.Fields(args)...); o.code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, o.code)
		}
	}
}

// In bash itself: the script is read, and Tab is pressed behind "runtimegc list w".
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("no bash")
	}
	root := t.TempDir()
	for _, name := range []string{"web-1", "web-2", "db"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(bash, "--norc", "-c", `
source /dev/stdin <<< "$("$BINARY" completion bash)"
complete -p runtimegc || exit
# What bash-completion has to offer, which need not be installed.
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
COMP_WORDS=("$BINARY" list --root "$ROOT" w) COMP_CWORD=4 COMP_TYPE=9
COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
__start_runtimegc
echo "replies: ${COMPREPLY[*]}"`)
	cmd.Env = append(os.Environ(), "BINARY="+binary(t), "ROOT="+root)
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^replies: *web-1 +web-2 *$`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

// The man pages say what there is to say, of nobody's home, and without a fault of form.
func TestManPages(t *testing.T) {
	t.Parallel()
	page := run(t, "man").must(t).stdout
	dir := t.TempDir()
	if o := run(t, "man", dir).must(t); o.stdout != "" {
		t.Errorf("man DIR printed %s", o.stdout)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
	}
	if want := []string{"runtimegc-list.1", "runtimegc-prune.1", "runtimegc-service.1", "runtimegc-watch.1", "runtimegc.1"}; !slices.Equal(names, want) {
		t.Errorf("man DIR wrote %q, want %q", names, want)
	}
	for _, word := range []string{".SH REASONS", ".SH EXIT STATUS", ".SH ENVIRONMENT", ".SH FILES", "not_stale", "--protect"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page does not say %q:\n%s", word, page)
		}
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 && strings.Contains(page, home) {
		t.Errorf("the page tells whose home it was made in, %s", home)
	}
	for _, linter := range [][]string{
		{"mandoc", "-T", "lint", "-W", "error"},
		{"groff", "-ww", "-man", "-z", "-Kutf8"},
		{"man", "--warnings=w", "-l"},
	} {
		t.Run(linter[0], func(t *testing.T) {
			path, err := exec.LookPath(linter[0])
			if err != nil {
				t.Skip(err)
			}
			if linter[0] == "man" && runtime.GOOS != "linux" {
				t.Skip("the options are those of man-db")
			}
			for _, name := range names {
				cmd := exec.Command(path, append(linter[1:], filepath.Join(dir, name))...)
				var faults strings.Builder
				cmd.Stderr = &faults
				if out, err := cmd.Output(); err != nil || faults.Len() > 0 {
					t.Errorf("%s: %v\n%s%s", name, err, faults.String(), out[:min(len(out), 500)])
				}
			}
		})
	}
	if o := run(t, "man", filepath.Join(dir, "none")); o.code != 1 || !strings.Contains(o.stderr, "none") {
		t.Errorf("a directory that there is not: exit code %d, %s", o.code, o.stderr)
	}
	if o := run(t, "man", dir, dir); o.code != 2 {
		t.Errorf("two directories: exit code %d", o.code)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	o := run(t, "--version").must(t)
	if !regexp.MustCompile(`^runtimegc version \S+ \(commit (unknown|[0-9a-f]{40})( and changes)?, go1\S*, \w+/\w+\)\n$`).MatchString(o.stdout) {
		t.Errorf("printed %q", o.stdout)
	}
	if !strings.Contains(o.stdout, runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("printed %q, of another system", o.stdout)
	}
}
