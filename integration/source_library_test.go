package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Another module can import the three packages, and none of what they need is hidden
// from it: their example, as a program of that module.
func TestImportedByAnotherModule(t *testing.T) {
	t.Parallel()
	needSources(t)
	dir := t.TempDir()
	here, err := filepath.Abs(module)
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{"go.mod": "go.mod", "go.sum": "go.sum", "main.go": "prune/example_test.go"} {
		text, err := os.ReadFile(filepath.Join(module, from))
		if err != nil {
			t.Fatal(err)
		}
		switch to {
		case "go.mod":
			text = regexp.MustCompile(`(?m)^module .*`).ReplaceAll(text, []byte("module example.com/mine"))
			text = append(text, "\nrequire runtimegc v0.0.0\nreplace runtimegc => "+strconv.Quote(here)+"\n"...)
		case "main.go":
			text = regexp.MustCompile(`(?m)^package .*`).ReplaceAll(text, []byte("package main"))
			text = regexp.MustCompile(`(?m)^func Example\(\)`).ReplaceAll(text, []byte("func main()"))
		}
		noError(t, os.WriteFile(filepath.Join(dir, to), text, 0o644))
	}
	cmd := exec.Command("go", "run", "-mod=mod", ".")
	cmd.Dir = dir
	cmd.Env = append(goEnv(t.TempDir()), "GOPROXY=off", "GOWORK=off", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil && os.Getenv("GCTEST_BINARY") != "" {
		t.Skipf("no go command that can load the module here: %v", err)
	}
	if err != nil || !regexp.MustCompile(`(?m)^<nil> 1 removed$`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}
