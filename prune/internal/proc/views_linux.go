//go:build !portable

package proc

// One directory has many paths: a bind mount, a container and a chroot each show it under
// another. What is the same in all mount namespaces is the file system and the path in it,
// and every namespace's table of mounts says under which paths it shows that. So a path
// that /proc gives for another process is understood without touching what it names: it
// may be on a mount that does not answer, and stat(2) would answer about our namespace.

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"runtimegc/prune/internal/mounts"
)

// A tree is a directory and all below it, wherever it is mounted.
type tree struct {
	path   string // in our mount namespace, free of symlinks
	device uint64 // of the file system
	inside string // its path in the file system; empty: unknown
}

// treeOf returns the tree at path, which must be free of symlinks.
func treeOf(path string) (tree, error) {
	table, err := os.ReadFile(filepath.Join(procDir(), "self/mountinfo"))
	if err != nil {
		return tree{}, err
	}
	m, inside, ok := mounts.Covering(table, path)
	if !ok {
		return tree{path: path}, nil
	}
	return tree{path, m.Device, inside}, nil
}

// A view is how one mount namespace shows a tree.
type view struct {
	aliases []alias
	points  []string // all mount points
}

// An alias is a path in a mount namespace and what of the tree it shows: rel is "" for the
// tree itself.
type alias struct{ path, point, rel string }

// seen returns the view that a table of mounts gives of t. The table of a process has the
// paths relative to its root directory, which is put before them.
func (t tree) seen(table []byte, root string) view {
	var v view
	for m := range mounts.In(table) {
		point := m.Point
		if root != "/" {
			point = mounts.Join(root, strings.TrimPrefix(point, "/"))
		}
		v.points = append(v.points, point)
		if m.Device != t.device {
			continue
		}
		if rel, ok := mounts.Below(t.inside, m.Root); ok {
			v.aliases = append(v.aliases, alias{mounts.Join(point, rel), point, ""})
		} else if rel, ok := mounts.Below(m.Root, t.inside); ok {
			v.aliases = append(v.aliases, alias{point, point, rel})
		}
	}
	return v
}

// find returns what of the tree path leads to, relative to it. It reports false if that is
// nothing.
func (v *view) find(path string) (rel string, ok bool) {
	for _, a := range v.aliases {
		rest, under := mounts.Below(path, a.path)
		if under && !v.hidden(path, a.point) {
			if a.rel == "" {
				return rest, true
			}
			return mounts.Join(a.rel, rest), true
		}
	}
	return "", false
}

// hidden says whether something is mounted at a point deeper than that, on the way to path.
func (v *view) hidden(path, point string) bool {
	for _, other := range v.points {
		if _, under := mounts.Below(path, other); under && len(other) > len(point) {
			return true
		}
	}
	return false
}

// views has the views of one tree from all mount namespaces that were met.
type views struct {
	tree  tree
	own   string // our mount namespace, as /proc calls it
	known map[[2]string]*view
}

func newViews(t tree) *views {
	own, _ := os.Readlink(procDir() + "/self/ns/mnt") // none: every namespace is foreign
	return &views{tree: t, own: own, known: make(map[[2]string]*view)}
}

// of returns the view of the process, or thread, whose directory in /proc that is.
func (vs *views) of(dir string) (*view, error) {
	ns, err := os.Readlink(dir + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	if vs.tree.inside == "" {
		// No mount that we see shows it: we are in a chroot(2) that is no mount point.
		return &view{aliases: []alias{{vs.tree.path, "/", ""}}}, nil
	}
	if ns == vs.own {
		dir = procDir() + "/self"
	}
	// /proc gives a path relative to our own root, or to that of a foreign namespace; the
	// table of mounts is relative to the root of the process.
	root, err := os.Readlink(dir + "/root")
	if err != nil {
		return nil, err
	}
	key := [2]string{ns, root}
	if v := vs.known[key]; v != nil {
		return v, nil
	}
	table, err := os.ReadFile(dir + "/mountinfo")
	if err != nil {
		return nil, err
	}
	v := vs.tree.seen(table, root)
	vs.known[key] = &v
	return &v, nil
}

// procDir is where /proc is: what gopsutil reads.
func procDir() string {
	if dir, foreign := foreignProc(); foreign {
		return dir
	}
	return "/proc"
}

// processDir returns the directory of the process in /proc.
func processDir(pid int32) string { return procDir() + "/" + strconv.Itoa(int(pid)) }

// leaderless returns the directories in /proc of the threads of a process whose first
// thread has exited, and with it all that /proc says of the process itself. It returns none
// of a kernel thread, which has no program and no files.
func leaderless(dir string) (threads []string, err error) {
	kernel, err := kernelThread(dir)
	if err != nil || kernel {
		return nil, err
	}
	tids, err := readNames(dir + "/task")
	if err != nil {
		return nil, err
	}
	for _, tid := range tids {
		if tid != filepath.Base(dir) {
			threads = append(threads, dir+"/task/"+tid)
		}
	}
	return threads, nil
}

// kernelThread says whether the ninth field of its stat has PF_KTHREAD, 0x00200000 in the
// kernel's include/linux/sched.h.
func kernelThread(dir string) (bool, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false, err
	}
	flags, err := statField(text, 9)
	return flags&0x00200000 != 0, err
}

// readNames returns the names in a directory of /proc.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
