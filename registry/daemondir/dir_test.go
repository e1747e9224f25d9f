package daemondir

// Daemon dirs on the real file system. What needs Linux (special files, leases, names
// of any bytes) is in dir_linux_test.go.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "web", written, "4711")
	daemondirtest.WriteFile(t, filepath.Join(dir.Path(), "web"), "the trampoline")
	daemondirtest.WriteFile(t, filepath.Join(dir.Path(), "out.log"), "the user's")
	got, err := Read(root, "web")
	want := Entry{
		Name:      "web",
		Dir:       identityOf(t, dir.Path()),
		Sidecar:   stampAt(t, dir.Sidecar()),
		SpawnedAt: At(1700000000123),
		LastSeen:  At(1700000005000),
		PIDFile:   stampAt(t, dir.PIDFile()),
		PID:       PID{N: 4711, Known: true},
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if again, err := Read(root, "web"); err != nil || again != got {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

func TestReadContent(t *testing.T) {
	const none = "\x00none" // no such file
	padded := func(size int) string { return `{"last_seen_unix_ms":2` + strings.Repeat(" ", size-23) + "}" }
	unknown, pid := Timestamp{}, PID{N: 12, Known: true}
	for _, tt := range []struct {
		name, sidecar, pidFile string
		problem                Problem
		spawned, seen          Timestamp
		pid                    PID
	}{
		{"both files", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":2}`, "12", ProblemNone, At(1), At(2), pid},
		{"no last_seen falls back on spawned_at", `{"spawned_at_unix_ms":1}`, "12", ProblemNone, At(1), At(1), pid},
		{"last_seen that is no integer falls back", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":"2"}`, "12", ProblemNone, At(1), At(1), pid},
		{"last_seen that is too large falls back", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":18446744073709551616}`, "12", ProblemNone, At(1), At(1), pid},
		{"last_seen of zero does not fall back", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":0}`, "12", ProblemNone, At(1), At(0), pid},
		{"last_seen before spawned_at is taken as it is", `{"spawned_at_unix_ms":9,"last_seen_unix_ms":2}`, "12", ProblemNone, At(9), At(2), pid},
		{"spawned_at does not fall back on last_seen", `{"last_seen_unix_ms":2}`, "12", ProblemNone, unknown, At(2), pid},
		{"neither timestamp is no problem", `{}`, "12", ProblemNone, unknown, unknown, pid},

		{"empty dir", none, none, ProblemNoSidecar, unknown, unknown, PID{}},
		{"no sidecar: the pid is read all the same", none, "12", ProblemNoSidecar, unknown, unknown, pid},
		{"empty sidecar", "", "12", ProblemEmpty, unknown, unknown, pid},
		{"half a sidecar", written[:len(written)/2], "12", ProblemNotJSON, unknown, unknown, pid},
		{"not an object", "[]", "12", ProblemNotObject, unknown, unknown, pid},
		{"a spawn that failed: sidecar only", `{"spawned_at_unix_ms":1}`, none, ProblemNone, At(1), At(1), PID{}},
		{"largest sidecar", padded(MaxSidecarSize), "12", ProblemNone, unknown, At(2), pid},
		{"sidecar too large by one", padded(MaxSidecarSize + 1), "12", ProblemTooLarge, unknown, unknown, pid},

		{"empty pid file: between open and write", `{}`, "", ProblemNone, unknown, unknown, PID{}},
		{"pid file that is no number", `{}`, "twelve", ProblemNone, unknown, unknown, PID{}},
		{"pid file of 64 bytes", `{}`, "12" + strings.Repeat(" ", 62), ProblemNone, unknown, unknown, pid},
		{"pid file of 65 bytes", `{}`, "12" + strings.Repeat(" ", 63), ProblemNone, unknown, unknown, PID{}},
		{"pid file of a megabyte", `{}`, strings.Repeat("1", 1<<20), ProblemNone, unknown, unknown, PID{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := daemondirtest.Dir{Root: root, Name: "web"}
			if err := dir.Mkdir(); err != nil {
				t.Fatal(err)
			}
			want := Entry{
				Name: "web", Dir: identityOf(t, dir.Path()), Problem: tt.problem,
				SpawnedAt: tt.spawned, LastSeen: tt.seen, PID: tt.pid,
			}
			if tt.sidecar != none {
				daemondirtest.WriteFile(t, dir.Sidecar(), tt.sidecar)
				want.Sidecar = stampAt(t, dir.Sidecar())
			}
			if tt.pidFile != none {
				daemondirtest.WriteFile(t, dir.PIDFile(), tt.pidFile)
				want.PIDFile = stampAt(t, dir.PIDFile())
			}
			if got, err := Read(root, "web"); err != nil || got != want {
				t.Errorf("%+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// A sidecar holds the daemon's environment. Neither an entry nor an error may.
func TestReadKeepsSecrets(t *testing.T) {
	for name, sidecar := range map[string]string{
		"good":       written,
		"cut":        written[:len(written)-2],
		"not-object": `["s3cret"]`,
		"not-utf8":   "{\"TOKEN\":\"s3cret\xff\"}",
		"a-number":   `{"last_seen_unix_ms":"s3cret"}`,
	} {
		root := t.TempDir()
		daemondirtest.Make(t, root, name, sidecar, "s3cret")
		e, err := Read(root, name)
		if said := fmt.Sprintf("%+v %v %s", e, err, e.Problem); strings.Contains(said, "s3cret") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

func TestReadWhatIsNoDir(t *testing.T) {
	root := t.TempDir()
	other := daemondirtest.Make(t, t.TempDir(), "link", written, "12").Path()
	daemondirtest.Make(t, root, "web", written, "12")
	daemondirtest.WriteFile(t, filepath.Join(root, "file"), written)
	for _, tt := range []struct{ name, link, dir string }{
		{"missing", "", "missing"},
		{"a file", "", "file"},
		{"in a root that is missing", "", filepath.Join("missing", "web")},
		{"a symlink to a daemon dir of its name", other, "link"},
		{"a symlink to a daemon dir beside it", "web", "beside"},
		{"a symlink to itself", "loop", "loop"},
		{"a symlink to what is missing", "missing", "dangling"},
		{"a symlink to a file", "file", "to-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.link != "" {
				symlink(t, tt.link, filepath.Join(root, tt.dir))
			}
			if e, err := Read(root, tt.dir); !errors.Is(err, fs.ErrNotExist) || e != (Entry{}) {
				t.Errorf("%+v, %v; want no entry, and %v", e, err, fs.ErrNotExist)
			}
		})
	}
}

// Symlinks are not followed, wherever they lead; a sidecar that is a directory is none.
func TestReadWhatIsNoFile(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	daemondirtest.WriteFile(t, outside, `{"last_seen_unix_ms":9}`)
	daemondirtest.WriteFile(t, outside+".pid", "99")
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir, sidecar string)
	}{
		{"directory", func(t *testing.T, dir, sidecar string) {
			if err := os.Mkdir(sidecar, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"symlink to a file outside", func(t *testing.T, dir, sidecar string) { symlink(t, outside, sidecar) }},
		{"symlink to a file inside", func(t *testing.T, dir, sidecar string) {
			daemondirtest.WriteFile(t, filepath.Join(dir, "real.json"), `{"last_seen_unix_ms":9}`)
			symlink(t, "real.json", sidecar)
		}},
		{"symlink to itself", func(t *testing.T, dir, sidecar string) { symlink(t, filepath.Base(sidecar), sidecar) }},
		{"symlink to what is missing", func(t *testing.T, dir, sidecar string) { symlink(t, "missing", sidecar) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := daemondirtest.Dir{Root: root, Name: "web"}
			if err := dir.Mkdir(); err != nil {
				t.Fatal(err)
			}
			tt.make(t, dir.Path(), dir.Sidecar())
			daemondirtest.WriteFile(t, dir.PIDFile(), "12")
			e, err := Read(root, "web")
			if err != nil || e.Problem != ProblemNotRegular || e.LastSeen.Known || e.Sidecar != (Stamp{}) {
				t.Errorf("as the sidecar: %+v, %v", e, err)
			}
			if e.PID != (PID{N: 12, Known: true}) {
				t.Errorf("the pid beside it is %+v", e.PID)
			}
			checkNotOpened(t, root, "web")
		})
	}

	t.Run("pid file that is a directory", func(t *testing.T) {
		root := t.TempDir()
		daemondirtest.Make(t, filepath.Join(root, "web"), "daemon.pid", "{}", "")
		daemondirtest.WriteFile(t, filepath.Join(root, "web", "web.daemon.json"), "{}")
		checkNoPID(t, root, "web")
	})
	t.Run("pid file that is a symlink", func(t *testing.T) {
		root := t.TempDir()
		dir := daemondirtest.Make(t, root, "web", "{}", "")
		symlink(t, outside+".pid", dir.PIDFile())
		checkNoPID(t, root, "web")
	})
}

func TestReadPermission(t *testing.T) {
	switch {
	case runtime.GOOS == "windows":
		t.Skip("modes do not keep anybody out on Windows")
	case os.Geteuid() == 0:
		t.Skip("modes do not keep root out")
	}
	for _, tt := range []struct {
		name    string
		deny    string // relative to the root
		problem Problem
		pid     PID
	}{
		{"the dir", "web", ProblemPermission, PID{}},
		{"the sidecar", "web/web.daemon.json", ProblemPermission, PID{N: 12, Known: true}},
		{"the root", ".", ProblemPermission, PID{}},
		{"the pid file, which may name a live daemon", "web/daemon.pid", ProblemPermission, PID{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
			path := filepath.Join(root, tt.deny)
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Chmod(path, 0o700); err != nil {
					t.Error(err)
				}
			})
			e, err := Read(root, "web")
			if err != nil || e.Name != "web" || e.Problem != tt.problem || e.PID != tt.pid {
				t.Errorf("%+v, %v; want %q, pid %+v", e, err, tt.problem, tt.pid)
			}
			if e.LastSeen.Known {
				t.Errorf("last seen %v", e.LastSeen)
			}
		})
	}
}

func TestReadQuarantined(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "foo", `{"last_seen_unix_ms":2}`, "12")
	before, err := Read(root, "foo")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir.Path(), filepath.Join(root, ".pruned-foo")); err != nil {
		t.Fatal(err)
	}
	after, err := Read(root, ".pruned-foo")
	want := before
	want.Name = ".pruned-foo"
	if err != nil || after != want {
		t.Errorf("%+v, %v\nwant %+v", after, err, want)
	}
}

// ReadFrom is for whoever has the sidecar open for writing.
func TestReadFrom(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "web", `{"spawned_at_unix_ms":1}`, "12")
	if err := os.Chmod(dir.Sidecar(), 0o640); err != nil {
		t.Fatal(err)
	}
	want, err := Read(root, "web")
	if err != nil {
		t.Fatal(err)
	}
	d := openDir(t, root, "web")
	f, err := d.OpenSidecar(ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 { // reading does not move anything
		if got, err := d.ReadFrom(f); err != nil || got != want {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		text, said, problem := f.Text()
		if string(text) != `{"spawned_at_unix_ms":1}` || said.SpawnedAt != At(1) || said.LastSeen.Known || problem != ProblemNone {
			t.Errorf("text %q says %+v, %q", text, said, problem)
		}
	}
	if d.ID() != want.Dir {
		t.Errorf("id %+v, want %+v", d.ID(), want.Dir)
	}
	if got := f.Mode(); runtime.GOOS != "windows" && got != 0o640 {
		t.Errorf("mode %v", got)
	}
}

// The files are the open dir's, whatever happens to its path.
func TestOpenDirIsPinned(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open directory cannot be renamed on Windows")
	}
	setup := func(t *testing.T) (root, dir string, d *Dir, want Entry) {
		root = t.TempDir()
		dir = daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12").Path()
		want, err := Read(root, "web")
		if err != nil {
			t.Fatal(err)
		}
		return root, dir, openDir(t, root, "web"), want
	}
	t.Run("swapped for a symlink", func(t *testing.T) {
		_, dir, d, want := setup(t)
		other := daemondirtest.Make(t, t.TempDir(), "web", `{"last_seen_unix_ms":9}`, "99").Path()
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		symlink(t, other, dir)
		if got, err := d.Read(); err != nil || got != want {
			t.Errorf("%+v, %v\nwant %+v", got, err, want)
		}
	})
	t.Run("swapped for another dir", func(t *testing.T) {
		root, dir, d, want := setup(t)
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":9}`, "99")
		if got, err := d.Read(); err != nil || got != want {
			t.Errorf("%+v, %v\nwant %+v", got, err, want)
		}
	})
	t.Run("removed and made anew", func(t *testing.T) {
		root, dir, d, want := setup(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":9}`, "99")
		got, err := d.Read()
		if err != nil || got != (Entry{Name: "web", Dir: want.Dir, Problem: ProblemNoSidecar}) {
			t.Errorf("%+v, %v", got, err)
		}
		if now, err := Read(root, "web"); err != nil || now.Dir == want.Dir {
			t.Errorf("the new dir passes for the one that is still open: %+v, %v", now, err)
		}
	})
}

func TestStampChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path string)
	}{
		{"longer", func(t *testing.T, path string) { daemondirtest.WriteFile(t, path, `{"last_seen_unix_ms":22}`) }},
		{"truncated", func(t *testing.T, path string) { daemondirtest.WriteFile(t, path, "") }},
		{"same length, another time", func(t *testing.T, path string) {
			before := stat(t, path).ModTime()
			daemondirtest.WriteFile(t, path, `{"last_seen_unix_ms":3}`)
			// As if the clock had ticked: two writes within one tick may have the same time.
			if err := os.Chtimes(path, time.Time{}, before.Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}},
		{"replaced by one of the same length and time", func(t *testing.T, path string) {
			if runtime.GOOS == "windows" {
				t.Skip("there is no inode in a stamp on Windows")
			}
			before := stat(t, path).ModTime()
			daemondirtest.WriteFile(t, path+".new", `{"last_seen_unix_ms":3}`)
			if err := os.Chtimes(path+".new", time.Time{}, before); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
			before, err := Read(root, "web")
			if err != nil {
				t.Fatal(err)
			}
			tt.change(t, dir.Sidecar())
			after, err := Read(root, "web")
			if err != nil {
				t.Fatal(err)
			}
			if after.Sidecar == before.Sidecar {
				t.Errorf("the stamp is still %+v", after.Sidecar)
			}
			if after.PIDFile != before.PIDFile || after.Dir != before.Dir {
				t.Errorf("the pid file's stamp or the dir's identity changed: %+v, was %+v", after, before)
			}
		})
	}
}

// What is no regular file, or not there, has the zero stamp.
func TestStampOfNoFile(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "web", "{}", "12")
	if SidecarStamp(d.Root, "web") == (Stamp{}) {
		t.Error("a sidecar has the zero stamp")
	}
	if got := SidecarStamp(d.Root, "missing"); got != (Stamp{}) {
		t.Errorf("without a dir: %+v", got)
	}
	if err := os.Remove(d.Sidecar()); err != nil {
		t.Fatal(err)
	}
	if got := SidecarStamp(d.Root, "web"); got != (Stamp{}) {
		t.Errorf("without a sidecar: %+v", got)
	}
	if err := os.Mkdir(d.Sidecar(), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := SidecarStamp(d.Root, "web"); got != (Stamp{}) {
		t.Errorf("a directory: %+v", got)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := daemondirtest.Symlink(target, path); err != nil {
		t.Skipf("no symlinks here: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Skipf("no symlinks here, though the system says that it made one: %v", err) // Wine 8
	}
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func identityOf(t *testing.T, path string) FileID {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := IdentifyFile(f)
	if err != nil || id == (FileID{}) {
		t.Fatalf("%q has the identity %v, %v", path, id, err)
	}
	return id
}

func stampAt(t *testing.T, path string) Stamp {
	t.Helper()
	return stampOf(stat(t, path), identityOf(t, path))
}

func openDir(t *testing.T, root, name string) *Dir {
	t.Helper()
	d, err := Open(root, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// checkNotOpened checks that the sidecar of root/name is refused in either mode.
func checkNotOpened(t *testing.T, root, name string) {
	t.Helper()
	d := openDir(t, root, name)
	for _, mode := range []Mode{ReadOnly, ReadWrite} {
		if f, err := d.OpenSidecar(mode); !errors.Is(err, errNotRegular) {
			t.Errorf("opening it in mode %d: %v", mode, err)
			if err == nil {
				f.Close()
			}
		}
	}
}

// checkNoPID checks that the sidecar of root/name is read and its pid file counts as none.
func checkNoPID(t *testing.T, root, name string) {
	t.Helper()
	e, err := Read(root, name)
	if err != nil || e.Problem != ProblemNone || e.PID != (PID{}) || e.PIDFile != (Stamp{}) {
		t.Errorf("%+v, %v; want a good entry without pid", e, err)
	}
}
