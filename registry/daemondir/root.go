package daemondir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// DefaultRoot returns the runtime root that the running-process package uses on this
// platform:
//
//	Linux, other Unix  $XDG_DATA_HOME/running-process/runtime, else ~/.local/share/..., else /tmp/...
//	macOS              ~/Library/Application Support/running-process/runtime, else /tmp/...
//	Windows            %LOCALAPPDATA%\running-process\runtime, else ~\AppData\Local\..., else C:\ProgramData\...
//
// An empty variable or a relative $XDG_DATA_HOME counts as unset, as the XDG Base Directory
// Specification requires.
func DefaultRoot() string {
	return defaultRoot(runtime.GOOS, Home(), os.Getenv)
}

// Home returns the user's home directory as running-process finds it: $HOME (on Windows
// %USERPROFILE%), or if that is unset or empty, as in a service, what the password database
// has. It is empty if neither knows.
func Home() string {
	if home, err := os.UserHomeDir(); err == nil && home != "" {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
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

// ErrRefused says that a directory must not be a runtime root, whatever is in it.
var ErrRefused = errors.New("refused as a runtime root")

// CheckRoot returns [ErrRefused] if root is the root of a file system, the home directory
// or a directory above it, or a directory for temporary files. It is also an error if root
// is not a directory, lies below a file, or cannot be checked. A root that does not exist is
// no error. One of those directories that does not answer is not the root, which does.
func CheckRoot(root string) error {
	info, err := os.Stat(root)
	if noSuchPath(err) {
		return checkAbove(root)
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
		if other, err := Stat(temp); err == nil && os.SameFile(info, other) {
			return fmt.Errorf("%q is a directory for temporary files: %w", root, ErrRefused)
		}
	}
	// The home directory and every directory above it, by its real path as well: if /home is
	// a symlink to /var/home, the path does not show that /var is above it.
	home := Home()
	if home == "" {
		return nil
	}
	homes := []string{home}
	target, ok := Within(answerTime, "real "+home, func() string {
		target, _ := filepath.EvalSymlinks(home) // empty: it does not exist
		return target
	})
	switch {
	case !ok:
		homes[0] = filepath.Dir(home) // which may answer
	case target != "":
		homes = append(homes, target)
	}
	for _, dir := range homes {
		for last := ""; dir != last; last, dir = dir, filepath.Dir(dir) {
			if other, err := Stat(dir); err == nil && os.SameFile(info, other) {
				return fmt.Errorf("%q is your home directory or holds it: %w", root, ErrRefused)
			}
		}
	}
	return nil
}

// checkAbove returns an error if a root that does not exist lies below a file, where none can be
// made.
func checkAbove(root string) error {
	for dir := filepath.Dir(root); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("root %q cannot be made: %q is a file, not a directory", root, dir)
		}
		if !noSuchPath(err) || dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// noSuchPath reports whether err says that a path does not exist. One below a file is ENOTDIR on
// Unix, and on Windows ERROR_PATH_NOT_FOUND, as it is below what does not exist.
func noSuchPath(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
