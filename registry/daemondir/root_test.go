package daemondir

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"runtimegc/registry/daemondir/daemondirtest"
	"strings"
	"testing"
)

func TestDefaultRoot(t *testing.T) {
	type env map[string]string
	for _, tt := range []struct {
		name, goos, home string
		env              env
		want             string
	}{
		{"linux: XDG_DATA_HOME", "linux", "/home/u", env{"XDG_DATA_HOME": "/data"}, "/data/running-process/runtime"},
		{"linux: unset", "linux", "/home/u", nil, "/home/u/.local/share/running-process/runtime"},
		{"linux: empty counts as unset", "linux", "/home/u", env{"XDG_DATA_HOME": ""}, "/home/u/.local/share/running-process/runtime"},
		{"linux: relative is ignored", "linux", "/home/u", env{"XDG_DATA_HOME": "data"}, "/home/u/.local/share/running-process/runtime"},
		{"linux: dot is relative", "linux", "/home/u", env{"XDG_DATA_HOME": "./data"}, "/home/u/.local/share/running-process/runtime"},
		{"linux: a tilde is relative", "linux", "/home/u", env{"XDG_DATA_HOME": "~/data"}, "/home/u/.local/share/running-process/runtime"},
		{"linux: no home", "linux", "", nil, "/tmp/running-process/runtime"},
		{"linux: no home, empty", "linux", "", env{"XDG_DATA_HOME": ""}, "/tmp/running-process/runtime"},
		{"linux: no home, relative", "linux", "", env{"XDG_DATA_HOME": "data"}, "/tmp/running-process/runtime"},
		{"linux: no home, but XDG_DATA_HOME", "linux", "", env{"XDG_DATA_HOME": "/data"}, "/data/running-process/runtime"},
		{"linux: LOCALAPPDATA is no business of it", "linux", "/home/u", env{"LOCALAPPDATA": "/x"}, "/home/u/.local/share/running-process/runtime"},
		{"freebsd: as on linux, set", "freebsd", "/home/u", env{"XDG_DATA_HOME": "/data"}, "/data/running-process/runtime"},
		{"freebsd: as on linux, unset", "freebsd", "/home/u", nil, "/home/u/.local/share/running-process/runtime"},
		{"freebsd: as on linux, empty", "freebsd", "/home/u", env{"XDG_DATA_HOME": ""}, "/home/u/.local/share/running-process/runtime"},
		{"freebsd: as on linux, relative", "freebsd", "/home/u", env{"XDG_DATA_HOME": "data"}, "/home/u/.local/share/running-process/runtime"},
		{"freebsd: as on linux, no home", "freebsd", "", nil, "/tmp/running-process/runtime"},
		{"darwin: home", "darwin", "/Users/u", nil, "/Users/u/Library/Application Support/running-process/runtime"},
		{"darwin: XDG_DATA_HOME is no business of it", "darwin", "/Users/u", env{"XDG_DATA_HOME": "/data"}, "/Users/u/Library/Application Support/running-process/runtime"},
		{"darwin: no home", "darwin", "", nil, "/tmp/running-process/runtime"},
		{"darwin: no home, but XDG_DATA_HOME", "darwin", "", env{"XDG_DATA_HOME": "/data"}, "/tmp/running-process/runtime"},
		{"windows: LOCALAPPDATA", "windows", `C:\Users\u`, env{"LOCALAPPDATA": `D:\Local`}, `D:\Local\running-process\runtime`},
		{"windows: unset", "windows", `C:\Users\u`, nil, `C:\Users\u\AppData\Local\running-process\runtime`},
		{"windows: empty counts as unset", "windows", `C:\Users\u`, env{"LOCALAPPDATA": ""}, `C:\Users\u\AppData\Local\running-process\runtime`},
		{"windows: no home", "windows", "", nil, `C:\ProgramData\running-process\runtime`},
		{"windows: no home, but LOCALAPPDATA", "windows", "", env{"LOCALAPPDATA": `D:\Local`}, `D:\Local\running-process\runtime`},
		{"windows: XDG_DATA_HOME is no business of it", "windows", `C:\Users\u`, env{"XDG_DATA_HOME": "/data"}, `C:\Users\u\AppData\Local\running-process\runtime`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := defaultRoot(tt.goos, tt.home, func(key string) string { return tt.env[key] })
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestDefaultRootOfThisSystem(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("LOCALAPPDATA", "")
	if got := DefaultRoot(); !strings.HasPrefix(got, home+string(filepath.Separator)) || filepath.Base(got) != "runtime" {
		t.Errorf("%q, which is not below %q", got, home)
	}
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", "")
	u, err := user.Current()
	if err != nil || u.HomeDir == "" {
		t.Skipf("the password database has no home: %v", err)
	}
	if got := DefaultRoot(); !strings.HasPrefix(got, u.HomeDir+string(filepath.Separator)) || filepath.Base(got) != "runtime" {
		t.Errorf("without $HOME: %q, which is not below %q", got, u.HomeDir)
	}
	if _, err := os.Stat(u.HomeDir); err != nil {
		return
	}
	if err := CheckRoot(u.HomeDir); !errors.Is(err, ErrRefused) {
		t.Errorf("without $HOME, the home directory: %v, want %v", err, ErrRefused)
	}
}

func TestCheckRoot(t *testing.T) {
	// base/users/u is the home; other/home is a symlink to base/users, as /home is one to
	// /var/home on some systems.
	base, other := t.TempDir(), t.TempDir()
	users := filepath.Join(base, "users")
	home := filepath.Join(users, "u")
	runtimeDir := filepath.Join(home, ".local", "share", "running-process", "runtime")
	elsewhere := filepath.Join(base, "srv", "runtime")
	for _, dir := range []string{runtimeDir, elsewhere} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, target string) string {
		path := filepath.Join(other, name)
		if err := daemondirtest.Symlink(target, path); err != nil {
			t.Skipf("no symlinks here: %v", err)
		}
		return path
	}
	homes := link("home", users)
	toHome := link("to-home", home)
	toRoot := link("to-root", string(filepath.Separator))
	toTemp := link("to-temp", os.TempDir())
	toRuntime := link("to-runtime", runtimeDir)
	dangling := link("dangling", filepath.Join(base, "nowhere"))
	loop := link("loop", filepath.Join(other, "loop"))
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}

	const fine, refused, failed = "fine", "refused", "failed"
	for _, tt := range []struct {
		name, home, root, want string
	}{
		{"a directory", home, elsewhere, fine},
		{"a directory in the home", home, runtimeDir, fine},
		{"a symlink to a directory", home, toRuntime, fine},
		{"missing", home, filepath.Join(base, "missing"), fine},
		{"missing below what is missing", home, filepath.Join(base, "missing", "too"), fine},
		{"a dangling symlink is missing", home, dangling, fine},

		{"file-system root", home, filepath.VolumeName(base) + string(filepath.Separator), refused},
		{"file-system root by dots", home, base + strings.Repeat(string(filepath.Separator)+"..", 40), refused},
		{"symlink to the file-system root", home, toRoot, refused},
		{"home", home, home, refused},
		{"home with a slash behind", home, home + string(filepath.Separator), refused},
		{"home by dots", home, filepath.Join(home, ".local") + string(filepath.Separator) + "..", refused},
		{"symlink to home", home, toHome, refused},
		{"holds the home", home, users, refused},
		{"holds what holds the home", home, base, refused},
		{"home that is a symlink: the link", toHome, toHome, refused},
		{"home that is a symlink: its target", toHome, home, refused},
		{"home that is a symlink: holds the link", toHome, other, refused},
		{"home that is a symlink: holds the target", toHome, users, refused},
		{"home that is a symlink: holds what holds the target", toHome, base, refused},
		{"home below a symlink: the symlink", filepath.Join(homes, "u"), homes, refused},
		{"home below a symlink: holds the symlink", filepath.Join(homes, "u"), other, refused},
		{"home below a symlink: what the symlink leads to", filepath.Join(homes, "u"), users, refused},
		{"home below a symlink: holds what it leads to", filepath.Join(homes, "u"), base, refused},
		{"another user's directory beside the home", filepath.Join(users, "v"), home, fine},
		{"home that does not exist: holds it", filepath.Join(base, "none", "u"), base, refused},
		{"no home: a directory", "", elsewhere, fine},
		{"no home: the directory for temporary files", "", os.TempDir(), refused},
		{"no home: a symlink to it", "", toTemp, refused},
		{"no home: file-system root", "", filepath.VolumeName(base) + string(filepath.Separator), refused},
		{"home is the file-system root: a directory", "/", elsewhere, fine},

		{"a file", home, file, failed},
		{"below a file", home, filepath.Join(file, "runtime"), failed},
		{"far below a file", home, filepath.Join(file, "share", "runtime"), failed},
		{"a symlink to itself", home, loop, failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("HOME", tt.home)
			t.Setenv("USERPROFILE", tt.home)
			err := CheckRoot(tt.root)
			got := failed
			switch {
			case err == nil:
				got = fine
			case errors.Is(err, ErrRefused):
				got = refused
			}
			if got != tt.want {
				t.Errorf("%s is %s (%v), want %s", tt.root, got, err, tt.want)
			}
			if strings.Contains(tt.name, "file-system root") && got == refused && !strings.Contains(err.Error(), "root of a file system") {
				t.Errorf("%s: it is not said why: %v", tt.root, err)
			}
		})
	}
}

// $TMPDIR names one directory for temporary files; the others stay what they are.
func TestCheckRootOfTemporaryFiles(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", "")
	mine := t.TempDir()
	t.Setenv("TMPDIR", mine)
	t.Setenv("TMP", mine) // Windows
	for _, dir := range []string{mine, "/tmp", "/var/tmp", "/dev/shm"} {
		if _, err := os.Stat(dir); err != nil || runtime.GOOS == "windows" && dir != mine {
			continue // Windows has none of these; Wine shows those of the system below it
		}
		if err := CheckRoot(dir); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", dir, err)
		}
		below, err := os.MkdirTemp(dir, "registry-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(below); err != nil {
				t.Error(err)
			}
		})
		if err := CheckRoot(below); err != nil {
			t.Errorf("%s: %v", below, err)
		}
	}
}
