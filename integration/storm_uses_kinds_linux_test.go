package integration

// The ways in which a dir is used.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// useKind is a kind of use.
type useKind struct {
	name     string
	do       []string // one of these: what an order says, or runProgram, loadProgram, leaveMark; none: nobody uses it
	through  string   // another way to the root, of these:
	flags    uintptr  // namespaces of the user's own
	direct   bool     // of the dir itself, or of what lies directly in it
	early    bool     // it may begin before the dir is in the root
	optional bool     // not every machine, and not every user, can
}

const (
	throughSymlink = "a symlink to the root"
	throughMount   = "a bind mount of the root"
	runProgram     = "run"
	loadProgram    = "load"
	leaveMark      = "mark"
)

// useKinds are all that there are.
func useKinds() []useKind {
	return []useKind{
		{name: "nobody", early: true},
		{name: "working directory", do: []string{"work"}, early: true},
		{name: "file open for reading", do: []string{"read"}, early: true},
		{name: "file open for writing", do: []string{"write"}, early: true},
		{name: "mapped file", do: []string{"map"}, early: true},
		{name: "program", do: []string{runProgram}, early: true},
		{name: "program run by the loader", do: []string{loadProgram}, early: true, optional: true},
		{name: "root directory", do: []string{"chroot"}, early: true, optional: true},
		{name: "bound socket", do: []string{"bind"}, direct: true},
		{name: "bound socket further down", do: []string{"bind"}},
		{name: "socket in another network namespace", do: []string{"bind"}, flags: unix.CLONE_NEWNET, optional: true},
		{name: "through a symlink", do: []string{"work", "read", "write", "map", runProgram}, through: throughSymlink},
		{name: "socket through a symlink", do: []string{"bind"}, through: throughSymlink, direct: true},
		{name: "through a bind mount in another mount namespace", do: []string{"work", "read", "write", "map"},
			through: throughMount, flags: unix.CLONE_NEWNS, optional: true},
		{name: "socket through a bind mount in another mount namespace", do: []string{"bind"},
			through: throughMount, flags: unix.CLONE_NEWNS, direct: true, optional: true},
		{name: "lock", do: []string{"lock"}, direct: true, early: true},
		{name: "lock of an open file that nobody has", do: []string{"lock in flight"}, direct: true, early: true},
		{name: "mark", do: []string{leaveMark}, early: true},
		{name: "log that is reopened for each line", do: []string{"log"}},
	}
}

// possibleUses returns the kinds that this machine, this user and this program can do.
func (u *uses) possibleUses(t *testing.T) (kinds []useKind) {
	t.Helper()
	for _, k := range useKinds() {
		if k.optional {
			if err := u.tryOut(k); err != nil {
				t.Logf("%s: left out: %v", k.name, err)
				continue
			}
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// tryOut uses a dir beside the root.
func (u *uses) tryOut(k useKind) error {
	p := plan{kind: k, name: "try", do: k.do[0]}
	d, err := u.make(p, ago(stale))
	if err != nil {
		return err
	}
	defer os.RemoveAll(d.Path())
	use, err := u.begin(p, u.nursery)
	if err != nil {
		return err
	}
	return use.end()
}

// file is what is used, below the dir.
func (p plan) file() string {
	name := map[string]string{"bind": "s", "log": "l", runProgram: "p", loadProgram: "p"}[p.do]
	if name == "" {
		name = "f"
	}
	return filepath.Join(p.below, name)
}

// writes says whether the use leaves something behind that was just written.
func (p plan) writes() bool { return p.do == "bind" || p.do == "log" }

// make makes a dead daemon's dir in the nursery. Nothing in it was written recently.
func (u *uses) make(p plan, seen time.Time) (daemondirtest.Dir, error) {
	d := daemondirtest.Dir{Root: u.nursery, Name: p.name}
	path := filepath.Join(d.Path(), p.file())
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = d.WriteSidecar(daemondirtest.Sidecar(seen, seen))
	}
	if err == nil {
		err = os.Link(u.image, filepath.Join(d.Path(), p.name))
	}
	if err == nil {
		err = d.WritePID(noProcess)
	}
	if err == nil && !p.writes() {
		if p.do == runProgram || p.do == loadProgram {
			err = daemondirtest.CopyProgram(path, u.cat)
		} else {
			err = os.WriteFile(path, []byte(secret), 0o644)
		}
		if err == nil {
			err = os.Chtimes(path, ago(stale), ago(stale))
		}
	}
	return d, err
}

// begin begins to use the dir, which is in that directory.
func (u *uses) begin(p plan, in string) (dirUse, error) {
	o := order{Do: p.do, Path: filepath.Join(in, p.name, p.file())}
	switch p.kind.through {
	case throughSymlink:
		o.Path = filepath.Join(u.alias, p.name, p.file())
	case throughMount:
		o.Bind = [2]string{in, u.mount}
		o.Path = filepath.Join(u.mount, p.name, p.file())
	}
	switch p.do {
	case runProgram, loadProgram:
		cmd := exec.Command(o.Path)
		cmd.Args = []string{"cat"} // which it is
		if p.do == loadProgram {
			loaders, _ := filepath.Glob("/lib*/ld-linux*.so.*")
			if len(loaders) == 0 {
				return nil, errors.New("no dynamic loader")
			}
			cmd = exec.Command(loaders[0], o.Path)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return startDirUser(cmd)
	case leaveMark:
		return dirMark{u, p.name}, u.command("protect", p.name, "--root", in)
	}
	return startUser(o, p.kind.flags)
}

// command runs a command of the program.
func (u *uses) command(args ...string) error {
	out, err := exec.Command(u.binary, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("runtimegc %q: %w\n%s", args, err, out)
	}
	return err
}

// dirMark is the mark of `protect` in a dir of the root.
type dirMark struct {
	u    *uses
	name string
}

func (m dirMark) still() error { return nil }
func (m dirMark) end() error   { return m.u.command("unprotect", m.name, "--root", m.u.root) }
