package daemondir

// Where the runtime root is, and which directories may not be one.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DefaultRoot returns the runtime root of the running-process package on this
// platform, by its own rule:
//
//	Linux, other Unix  $XDG_DATA_HOME/running-process/runtime, else ~/.local/share/..., else /tmp/...
//	macOS              ~/Library/Application Support/running-process/runtime, else /tmp/...
//	Windows            %LOCALAPPDATA%\running-process\runtime, else ~\AppData\Local\..., else C:\ProgramData\...
//
// An empty variable counts as unset, as the XDG Base Directory Specification asks.
// A relative $XDG_DATA_HOME is ignored for the same reason: what it names depends on
// where each program was started.
func DefaultRoot() string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return defaultRoot(runtime.GOOS, home, os.Getenv)
}

func defaultRoot(goos, home string, getenv func(string) string) string {
	join := func(sep string, elem ...string) string { return strings.Join(elem, sep) }
	switch goos {
	case "windows":
		base := `C:\ProgramData`
		if local := getenv("LOCALAPPDATA"); local != "" {
			base = local
		} else if home != "" {
			base = join(`\`, home, "AppData", "Local")
		}
		return join(`\`, base, "running-process", "runtime")
	case "darwin":
		base := "/tmp"
		if home != "" {
			base = join("/", home, "Library", "Application Support")
		}
		return join("/", base, "running-process", "runtime")
	default:
		base := "/tmp"
		if data := getenv("XDG_DATA_HOME"); strings.HasPrefix(data, "/") {
			base = data
		} else if home != "" {
			base = join("/", home, ".local", "share")
		}
		return join("/", base, "running-process", "runtime")
	}
}

// ErrRefused says that a directory may not be a runtime root whatever it holds.
var ErrRefused = errors.New("refused as a runtime root")

// CheckRoot returns an error when root may not or cannot be a runtime root: a
// file-system root, a home directory or what holds one, a directory for temporary
// files ([ErrRefused]); a file. A root that does not exist is fine.
func CheckRoot(root string) error {
	info, err := os.Stat(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking root: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("root %q is a file, not a directory", root)
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("checking root: %w", err)
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return fmt.Errorf("checking root: %w", err)
	}
	if filepath.Dir(resolved) == resolved {
		return fmt.Errorf("%q is the root of a file system: %w", root, ErrRefused)
	}
	for _, temp := range []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm"} {
		if other, err := os.Stat(temp); err == nil && os.SameFile(info, other) {
			return fmt.Errorf("%q is a directory for temporary files: %w", root, ErrRefused)
		}
	}
	// A home directory, and every directory above one: /home is nobody's runtime root.
	// Above the home's real path, too: where /home is a symlink to /var/home, /var is not
	// above it by name.
	home, err := os.UserHomeDir()
	if err != nil || home == "" {
		return nil
	}
	homes := []string{home}
	if target, err := filepath.EvalSymlinks(home); err == nil {
		homes = append(homes, target)
	}
	for _, dir := range homes {
		for last := ""; dir != last; last, dir = dir, filepath.Dir(dir) {
			if other, err := os.Stat(dir); err == nil && os.SameFile(info, other) {
				return fmt.Errorf("%q is your home directory or holds it: %w", root, ErrRefused)
			}
		}
	}
	return nil
}
