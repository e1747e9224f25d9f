package integration

import (
	"bytes"
	"encoding/json"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// listPackages returns the module's packages and all they depend on, as built for goos.
func listPackages(t *testing.T, goos string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "runtimegc/...")
	cmd.Env = append(goEnv(t.TempDir()), "GOOS="+goos, "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		// Another platform's modules may not be here, and offline cannot be had.
		if os.Getenv("GCTEST_BINARY") != "" || goos != runtime.GOOS {
			t.Skipf("no go command that can load the module for %s here: %v\n%s", goos, err, &stderr)
		}
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	pkgs := make(map[string]pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		noError(t, dec.Decode(&p))
		pkgs[p.ImportPath] = p
	}
	return pkgs
}

// The data flows one way, and the imports are what keeps it so:
//
//	cmd -> watcher -> registry <- prune <- cmd
func TestDirectionOfImports(t *testing.T) {
	t.Parallel()
	needSources(t)
	allowed := map[string][]string{
		"runtimegc/registry/daemondir/daemondirtest": nil, // not even daemondir, whose tests use it

		"runtimegc/registry/daemondir": nil,
		"runtimegc/registry":           {"runtimegc/registry/daemondir"},
		"runtimegc/watcher":            {"runtimegc/registry", "runtimegc/registry/daemondir"},
		"runtimegc/prune": {"runtimegc/registry", "runtimegc/registry/daemondir",
			"runtimegc/prune/internal/proc", "runtimegc/prune/internal/fsys"},
		"runtimegc/prune/internal/proc":   {"runtimegc/registry/daemondir", "runtimegc/prune/internal/mounts"},
		"runtimegc/prune/internal/fsys":   {"runtimegc/registry/daemondir", "runtimegc/prune/internal/mounts"},
		"runtimegc/prune/internal/mounts": nil,
		"runtimegc/cmd/runtimegc":         {"runtimegc/registry", "runtimegc/registry/daemondir", "runtimegc/watcher", "runtimegc/prune", "runtimegc/cmd/runtimegc/metrics", "runtimegc/cmd/runtimegc/control"},

		"runtimegc/cmd/runtimegc/control": {"runtimegc/registry/daemondir", "runtimegc/prune"},
		"runtimegc/cmd/runtimegc/metrics": {"runtimegc/registry", "runtimegc/registry/daemondir", "runtimegc/watcher", "runtimegc/prune"},
	}
	only := map[string]string{
		"runtimegc/registry/daemondir/daemondirtest": "a test",

		"github.com/fsnotify/fsnotify": "runtimegc/watcher",
		"github.com/shirou/gopsutil/":  "runtimegc/prune/internal/proc",
		"github.com/spf13/":            "runtimegc/cmd/runtimegc",
		"github.com/BurntSushi/toml":   "runtimegc/cmd/runtimegc",
		"github.com/coreos/go-systemd": "runtimegc/cmd/runtimegc",
		"github.com/mattn/go-isatty":   "runtimegc/cmd/runtimegc",
		"github.com/prometheus/":       "runtimegc/cmd/runtimegc/metrics",
		"net/http":                     "runtimegc/cmd/runtimegc/metrics runtimegc/cmd/runtimegc/control",
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			pkgs := listPackages(t, goos)
			for path := range allowed {
				if _, ok := pkgs[path]; !ok {
					t.Errorf("there is no package %s", path)
				}
			}
			for path, p := range pkgs {
				if !strings.HasPrefix(path, "runtimegc/") {
					continue
				}
				for _, dep := range p.Imports {
					if may, known := allowed[path]; known && strings.HasPrefix(dep, "runtimegc/") && !slices.Contains(may, dep) {
						t.Errorf("%s must not import %s", path, dep)
					}
					// A command may have packages of its own below it.
					if strings.HasPrefix(dep, "runtimegc/cmd/") && !strings.HasPrefix(dep, path+"/") {
						t.Errorf("%s imports %s; nothing imports a command", path, dep)
					}
					for prefix, owner := range only {
						if strings.HasPrefix(dep, prefix) && !slices.Contains(strings.Fields(owner), path) {
							t.Errorf("%s imports %s; only %s may", path, dep, owner)
						}
					}
				}
			}
			for _, dep := range pkgs["runtimegc/registry"].Deps {
				if !pkgs[dep].Standard && dep != "runtimegc/registry/daemondir" && dep != "golang.org/x/sys/unix" && dep != "golang.org/x/sys/windows" {
					t.Errorf("registry depends on %s; the map and the disk format need the standard library, and the system calls it lacks", dep)
				}
			}
			for _, path := range []string{"runtimegc/watcher", "runtimegc/prune"} {
				for _, dep := range pkgs[path].Deps {
					if strings.HasPrefix(dep, "runtimegc/") && !strings.HasPrefix(dep, "runtimegc/registry") && !strings.HasPrefix(dep, path+"/internal/") {
						t.Errorf("%s depends on %s", path, dep)
					}
				}
			}
		})
	}
}

// What is different on each system is below prune/internal; what decides about daemon dirs
// is the same everywhere, and makes no system call.
func TestPruneHasNoHostCode(t *testing.T) {
	t.Parallel()
	needSources(t)
	files, err := filepath.Glob(filepath.Join(module, "prune", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"//go:build", `"syscall"`, `"golang.org/x/sys/`} {
			if bytes.Contains(text, []byte(word)) {
				t.Errorf("%s has %s", path, word)
			}
		}
		name := strings.TrimSuffix(filepath.Base(path), ".go")
		for _, system := range []string{"linux", "darwin", "windows", "freebsd", "unix"} {
			if strings.HasSuffix(name, "_"+system) {
				t.Errorf("%s is for one system", path)
			}
		}
	}
}

// One way to lay code out, so that no change is about anything else.
func TestGofmt(t *testing.T) {
	notUnderRace(t)
	t.Parallel()
	needSources(t)
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != module && (strings.HasPrefix(name, ".") || name == "testdata" || name == "vendor") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		formatted, err := format.Source(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(text, formatted) {
			t.Errorf("%s is not as gofmt would have it", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
