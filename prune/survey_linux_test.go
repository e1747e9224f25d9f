package prune

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// state is all that can be seen of what is at path and below it, but for what reading
// changes.
func state(t *testing.T, path string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(path, func(path string, entry os.DirEntry, err error) error {
		if entry == nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			found[path] = err.Error() // in a dir that may not be searched
			return nil
		}
		found[path] = fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Size, st.Mtim, st.Ctim)
		return nil // of a dir that may not be read: itself
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ended is what came of a removal, in this process or another.
type ended struct {
	kept Reason
	err  string
}

// removeVar makes the test binary remove the dir "a" of the root it names.
const removeVar = "GCTEST_REMOVE"

// TestRemoveHelper is the process that removes as an ordinary user.
func TestRemoveHelper(t *testing.T) {
	root := os.Getenv(removeVar)
	if root == "" {
		t.Skip("started by other tests")
	}
	e, err := daemondir.Read(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	r := newTestRemover(t, root, false).remove(e)
	fmt.Printf("\nkept %q because %q\n", r.kept, fmt.Sprint(r.err))
}

// removeAsOrdinaryUser removes the dir "a" of root as an ordinary user.
func removeAsOrdinaryUser(t *testing.T, root string) ended {
	t.Helper()
	if os.Geteuid() != 0 {
		r := newTestRemover(t, root, false).remove(entryOf(t, daemondirtest.Dir{Root: root, Name: "a"}))
		return ended{r.kept, fmt.Sprint(r.err)}
	}
	cmd := ordinaryUsersTest(t, "TestRemoveHelper")
	cmd.Env = append(cmd.Env, removeVar+"="+root)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var x ended
		if _, err := fmt.Sscanf(line, "kept %q because %q", &x.kept, &x.err); err == nil {
			return x
		}
	}
	t.Fatalf("the helper says nothing:\n%s", out)
	return ended{}
}

// a planted file or directory is one of a test's daemon dir.
type planted struct {
	path    string
	mode    os.FileMode
	foreign bool // it is root's, and the dir an ordinary user's
}

// plant makes files and directories in d, which becomes an ordinary user's, but for those
// that are foreign. All appear to be old.
func plant(t *testing.T, d daemondirtest.Dir, files []planted) {
	t.Helper()
	foreign := make(map[string]bool)
	for _, f := range files {
		path := filepath.Join(d.Path(), f.path)
		switch {
		case f.foreign && os.Geteuid() != 0:
			t.Skip("only root can give files away")
		case f.path == ".":
		case f.mode.IsDir():
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		default:
			daemondirtest.WriteFile(t, path, "text")
		}
		foreign[path] = f.foreign
	}
	daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
	if os.Geteuid() == 0 {
		err := filepath.WalkDir(d.Root, func(path string, _ os.DirEntry, err error) error {
			if err == nil && !foreign[path] {
				err = os.Lchown(path, nobodyID, nobodyID)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range slices.Backward(files) {
		if err := os.Chmod(filepath.Join(d.Path(), f.path), f.mode&^os.ModeDir); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, f := range files {
			if f.mode.IsDir() {
				_ = os.Chmod(filepath.Join(d.Path(), f.path), 0o755)
			}
		}
	})
}

// What cannot be removed as a whole is not begun with: the dir keeps its name, and not a
// byte of it changes.
func TestRemoveWholeOrNotAtAll(t *testing.T) {
	const dir, sticky = os.ModeDir, os.ModeDir | os.ModeSticky
	for rule, row := range map[string]struct {
		files []planted
		about string // the error is about this; empty: it is removed
	}{
		"one's own read-only directories": {[]planted{{"ro", dir | 0o555, false}, {"ro/ro", dir | 0o500, false},
			{"ro/ro/file", 0o444, false}, {"ro/empty", dir | 0o555, false}}, ""},
		"one's own, and the dir itself is read-only":       {[]planted{{".", dir | 0o555, false}, {"file", 0, false}}, ""},
		"one's own, which cannot be read":                  {[]planted{{"shut", dir, false}, {"shut/file", 0o644, false}}, "shut"},
		"one's own, which cannot be searched":              {[]planted{{"shut", dir | 0o644, false}, {"shut/file", 0o644, false}}, "shut"},
		"another user's file":                              {[]planted{{"sub", dir | 0o755, false}, {"sub/his", 0o600, true}}, ""},
		"another user's directory, empty":                  {[]planted{{"sub", dir | 0o755, false}, {"sub/his", dir | 0o755, true}}, ""},
		"another user's directory, with a file":            {[]planted{{"sub", dir | 0o755, false}, {"sub/his\n", dir | 0o755, true}, {"sub/his\n/file", 0o644, true}}, `sub/his\n`},
		"another user's directory, which cannot be read":   {[]planted{{"his", dir | 0o700, true}}, "his"},
		"another user's directory, writable by all":        {[]planted{{"his", dir | 0o777, true}, {"his/file", 0o644, true}}, ""},
		"another user's sticky directory, his file":        {[]planted{{"his", sticky | 0o777, true}, {"his/file", 0o644, true}}, "his/file"},
		"another user's sticky directory, one's own file":  {[]planted{{"his", sticky | 0o777, true}, {"his/file", 0o644, false}}, ""},
		"one's own sticky directory, another user's file":  {[]planted{{"sub", sticky | 0o777, false}, {"sub/his", 0o644, true}}, ""},
		"one's own read-only directory, another's in that": {[]planted{{"ro", dir | 0o555, false}, {"ro/his", dir | 0o755, true}, {"ro/his/file", 0o644, true}}, "ro/his"},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			plant(t, d, row.files)
			before := state(t, root)
			got := removeAsOrdinaryUser(t, root)
			if row.about == "" {
				if got.kept != "" || d.Exists() {
					t.Errorf("kept because %q: %s", got.kept, got.err)
				}
				return
			}
			if got.kept != Permission || !strings.Contains(got.err, " cannot be removed: "+row.about+": ") {
				t.Errorf("kept because %q: %s; want the error to be about %q", got.kept, got.err, row.about)
			}
			if after := state(t, root); !maps.Equal(before, after) {
				t.Errorf("something changed:\n%v\n%v", before, after)
			}
		})
	}
}

// Attributes of chattr(1) by linux/fs.h.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// setAttributes gives a file the attributes of chattr(1), and takes them away at the end.
func setAttributes(t *testing.T, path string, attributes int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, before|attributes)
	}
	if err != nil {
		t.Skipf("no attributes: %v", err)
	}
	t.Cleanup(func() {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, before)
	})
}

// What not even root can remove.
func TestRemoveWholeOrNotAtAllAsRoot(t *testing.T) {
	if portable {
		t.Skip("attributes are not seen there")
	}
	if os.Geteuid() != 0 {
		t.Skip("takes root")
	}
	for rule, row := range map[string]struct {
		path       string
		attributes int
		about      string
	}{
		"an immutable file":            {"sub/file", immutable, "sub/file"},
		"an append-only file":          {"sub/file", appendOnly, "sub/file"},
		"an immutable directory":       {"sub", immutable, "sub"},
		"an empty immutable directory": {"sub/empty", immutable, "sub/empty"},
		"the dir itself is immutable":  {".", immutable, "."},
		"the root is read-only":        {"", 0, "."},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			if err := os.MkdirAll(filepath.Join(d.Path(), "sub", "empty"), 0o755); err != nil {
				t.Fatal(err)
			}
			daemondirtest.WriteFile(t, filepath.Join(d.Path(), "sub", "file"), "")
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			reason := Permission
			if row.path != "" {
				setAttributes(t, filepath.Join(d.Path(), row.path), row.attributes)
			} else {
				if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
					t.Skipf("no bind mount: %v", err)
				}
				t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
				reason = Failed
				if err := unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			before := state(t, root)
			for _, dryRun := range []bool{true, false} {
				r := newTestRemover(t, root, dryRun).remove(entryOf(t, d))
				if r.kept != reason || r.err == nil || !strings.Contains(r.err.Error(), " cannot be removed: "+row.about+": ") {
					t.Errorf("kept because %q: %v; want the error to be about %q", r.kept, r.err, row.about)
				}
				if after := state(t, root); !maps.Equal(before, after) {
					t.Errorf("something changed:\n%v\n%v", before, after)
				}
			}
		})
	}
}

// What was written since the daemon died may be what an orphan of it writes: it keeps the
// dir, whoever wrote it. What the spawner writes says nothing more than the sidecar.
func TestKeepWhatWasWrittenRecently(t *testing.T) {
	now := time.Now()
	for rule, row := range map[string]struct {
		path    string
		at      time.Time
		removed bool
	}{
		"a log at the top":           {"log", now, false},
		"a log further down":         {"sub/deep/log", now, false},
		"just now stale":             {"log", now.Add(-time.Hour - time.Second), true},
		"just not stale":             {"log", now.Add(-time.Hour + time.Minute), false},
		"in the future":              {"log", now.Add(1000 * time.Hour), false},
		"before the epoch":           {"log", time.Unix(-1000, 0), true},
		"a symlink":                  {"sub/link", now, false},
		"a FIFO":                     {"sub/fifo", now, false},
		"a directory":                {"sub/deep", now, true},
		"the dir itself":             {".", now, true},
		"the sidecar":                {"a.daemon.json", now, true},
		"the pid file":               {"daemon.pid", now, true},
		"the trampoline":             {"a", now, true},
		"the trampoline of Windows":  {"a.exe", now, true},
		"one named like the sidecar": {"sub/a.daemon.json", now, false},
		"one named like the dir":     {"sub/a", now, false},
		"another name at the top":    {"b", now, false},
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			path := filepath.Join(d.Path(), row.path)
			if err := os.MkdirAll(filepath.Join(d.Path(), "sub", "deep"), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch filepath.Base(path) {
			case "link":
				err = os.Symlink("nowhere", path)
			case "fifo":
				err = unix.Mkfifo(path, 0o644)
			default:
				if _, err := os.Stat(path); err != nil {
					daemondirtest.WriteFile(t, path, "text")
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			ts := unix.NsecToTimespec(row.at.UnixNano())
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
			if row.removed {
				b.wantRemoved(d)
				return
			}
			before := state(t, b.root)
			b.wantKept(d, RecentlyWritten)
			if after := state(t, b.root); !maps.Equal(before, after) {
				t.Errorf("something changed:\n%v\n%v", before, after)
			}
			x, _ := b.Explain("a")
			if got := answers(x); got[CheckContents] != "keep:recently_written" || x.Reason != RecentlyWritten {
				t.Errorf("explained as %v", got)
			}
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			b.wantRemoved(d)
		})
	}
}

func TestObstacleIsAnError(t *testing.T) {
	err := error(&fsys.Obstacle{Path: "a\x1b/b", Why: fsys.ErrMounted})
	if reasonOf(err) != MountPoint || err.Error() != `a\x1b/b: `+fsys.ErrMounted.Error() {
		t.Errorf("%s: %v", reasonOf(err), err)
	}
}
