package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// printedService returns what the command service prints.
func printedService(t *testing.T, kind string, flags ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"service", kind}, flags...), &stdout, &stderr)
	// The test binary is temporary.
	if warned := strings.Contains(stderr.String(), "will not stay where it is"); code != 0 || !warned || strings.Count(stderr.String(), "\n") != 1 {
		t.Fatalf("exit code %d; %s", code, &stderr)
	}
	return stdout.String()
}

// systemd itself verifies the units: it warns of unknown keys and of values it ignores.
func TestUnitsAreVerified(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here (Debian: apt-get install systemd)")
	}
	verify := func(name, text string) (string, error) {
		path := write(t, filepath.Join(t.TempDir(), name), text)
		out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
		return string(out), err
	}
	for kind, name := range map[string]string{"systemd-user": "runtimegc.service", "systemd-system": "runtimegc@root.service"} {
		text := printedService(t, kind, "--root", t.TempDir()+`/a "strange" 100% $root\`)
		if out, err := verify(name, text); err != nil || out != "" {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
		if out, _ := verify(name, strings.Replace(text, "WatchdogSec=60s", "WatchdogSec=often", 1)); out == "" {
			t.Skipf("this systemd-analyze finds nothing wrong with %s", kind)
		}
	}
}

// No later hardening of the units may add what would blind the program.
func TestUnitsSee(t *testing.T) {
	for _, kind := range []string{"systemd-user", "systemd-system"} {
		text := printedService(t, kind)
		for _, setting := range regexp.MustCompile(`(?m)^(ProtectProc|ProcSubset|PrivateTmp|ProtectHome|PrivateUsers|PrivatePIDs|PrivateNetwork|DynamicUser|TemporaryFileSystem|InaccessiblePaths|ReadOnlyPaths|RootDirectory|ProtectSystem=strict)`).FindAllString(text, -1) {
			t.Errorf("%s sets %s", kind, setting)
		}
		for _, want := range []string{"\nType=notify\n", "\nWatchdogSec=", "\nStartLimitIntervalSec=0\n", "\nLimitCORE=1\n", "\nExecReload=", "\nExecStart=", " AF_NETLINK\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", kind, strings.TrimSpace(want))
			}
		}
	}
}

// By systemd's rules, a quoted word of ExecStart is the word itself.
func TestQuoteSystemd(t *testing.T) {
	for word, want := range map[string]string{
		"/usr/bin/runtimegc": "/usr/bin/runtimegc",
		"--root=/a b":        `"--root=/a b"`,
		"100%":               `"100%%"`,
		"$HOME":              `"$$HOME"`,
		`a"b\c`:              `"a\"b\\c"`,
		"a\nb":               `"a\x0ab"`,
		"a'b":                `"a'b"`,
		"":                   `""`,
		"é":                  "é",
	} {
		if got := quoteSystemd(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

// The rule of a C runtime on Windows: 2n backslashes before a quote are n.
func TestQuoteWindows(t *testing.T) {
	for arg, want := range map[string]string{
		"watch":        "watch",
		`C:\a\b`:       `C:\a\b`,
		`C:\a b\c`:     `"C:\a b\c"`,
		`C:\a b\`:      `"C:\a b\\"`,
		`say "hi"`:     `"say \"hi\""`,
		`back\" slash`: `"back\\\" slash"`,
		"":             `""`,
	} {
		if got := quoteWindows(arg); got != want {
			t.Errorf("%q: got %s, want %s", arg, got, want)
		}
	}
}

// The XML files are XML, and have the right program and arguments, whatever their names.
func TestServiceXML(t *testing.T) {
	root := filepath.Join(t.TempDir(), `a <b> & "ü"`)
	for _, kind := range []string{"launchd", "windows"} {
		text := printedService(t, kind, "--root", root, "--stale-after", "90m")
		for _, r := range text {
			if r > 0x7e {
				t.Errorf("%s has %U in it: its encoding matters", kind, r)
			}
		}
		var words []string
		dec := xml.NewDecoder(strings.NewReader(text))
		for {
			token, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", kind, err, text)
			}
			if word, ok := token.(xml.CharData); ok {
				words = append(words, strings.TrimSpace(string(word)))
			}
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		want := []string{self, "watch", "--root=" + root, "--stale-after=1h30m0s", "--log-file=" + filepath.Join(cache, "runtimegc.log")}
		if kind == "windows" {
			quoted := make([]string, 0, len(want))
			for _, arg := range want[1:] {
				quoted = append(quoted, quoteWindows(arg))
			}
			want = []string{self, strings.Join(quoted, " ")}
		}
		for _, word := range want {
			if !slices.Contains(words, word) {
				t.Errorf("%s does not have %q:\n%s", kind, word, text)
			}
		}
	}
	// A log file that the user gives replaces the default.
	log := filepath.Join(t.TempDir(), "log")
	if text := printedService(t, "launchd", "--log-file", log); strings.Count(text, "--log-file=") != 1 || !strings.Contains(text, log) {
		t.Errorf("want the log in %s:\n%s", log, text)
	}
}

// A service has every flag of watch, and its reload checks the same settings.
func TestServiceTakesTheFlagsOfWatch(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no systemd, and its paths are not absolute here")
	}
	flags := []string{"--dry-run=true", "--metrics-listen=127.0.0.1:9100", "--metrics-textfile=/var/lib/node/a.prom", "--sweep-interval=1m0s"}
	text := printedService(t, "systemd-user", flags...)
	for _, line := range []string{"ExecStart=.+ watch ", "ExecReload=.+ config "} {
		if !regexp.MustCompile("(?m)^" + line + regexp.QuoteMeta(strings.Join(flags, " ")) + "$").MatchString(text) {
			t.Errorf("no %s%s in\n%s", line, flags, text)
		}
	}
	if check, signal := strings.Index(text, " config "), strings.Index(text, "/bin/kill"); check < 0 || signal < check {
		t.Error("the settings are not checked before the signal")
	}
}

func TestIsTemporary(t *testing.T) {
	t.Setenv("TMPDIR", "/var/tmp")
	for program, want := range map[string]bool{
		"/usr/bin/runtimegc": false, "/home/u/go/bin/runtimegc": false, "/var/tmpfiles/runtimegc": false,
		"/var/tmp/x/runtimegc": true, "/home/u/.cache/go-build/ab/cd-d/runtimegc": true, "/scratch/go-build12/b001/exe/runtimegc": true,
	} {
		if runtime.GOOS != "windows" && isTemporary(program) != want {
			t.Errorf("%s: want %v", program, want)
		}
	}
}

func TestServiceUsage(t *testing.T) {
	for _, args := range [][]string{{"service"}, {"service", "sysv"}, {"service", "launchd", "windows"}, {"service", "launchd", "--stale-after", "0"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "runtimegc: ") {
			t.Errorf("%q: exit code %d, want 2; %s%s", args, code, &stdout, &stderr)
		}
	}
	// Every file belongs to a kind.
	files, err := fs.Glob(serviceFiles, "service/*")
	if err != nil || len(files) != len(serviceKinds) {
		t.Errorf("%q for %d kinds, %v", files, len(serviceKinds), err)
	}
	if runtime.GOOS == "linux" && !strings.Contains(printedService(t, "systemd-user"), "\nExecStart=/") {
		t.Error("the unit does not have the path of the program")
	}
}
