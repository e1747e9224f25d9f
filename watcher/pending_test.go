package watcher

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// An event is only worth a read if what it names can change an entry; and what can
// must never be missed.
func TestEvent(t *testing.T) {
	const (
		create = fsnotify.Create
		modify = fsnotify.Write
		remove = fsnotify.Remove
		rename = fsnotify.Rename
		chmod  = fsnotify.Chmod
	)
	type want struct {
		read  string // the daemon dir that must be read
		moved bool   // its watch is in doubt
		root  bool   // the root must be looked at
		rearm bool   // and watched anew
	}
	tests := []struct {
		rule string
		path string // below /data
		op   fsnotify.Op
		want want
	}{
		{"a new dir is read", "/run/runtime/a", create, want{read: "a"}},
		{"a removed dir is read, its watch is gone", "/run/runtime/a", remove, want{read: "a", moved: true}},
		{"a renamed dir is read, its watch goes with it", "/run/runtime/a", rename, want{read: "a", moved: true}},
		{"two operations in one event are both seen", "/run/runtime/a", create | remove, want{read: "a", moved: true}},
		{"a sidecar that is made is read", "/run/runtime/a/a.daemon.json", create, want{read: "a"}},
		{"a sidecar that is written is read", "/run/runtime/a/a.daemon.json", modify, want{read: "a"}},
		{"a sidecar that is removed is read, the dir's watch stays", "/run/runtime/a/a.daemon.json", remove, want{read: "a"}},
		{"a sidecar that is replaced is read", "/run/runtime/a/a.daemon.json", rename, want{read: "a"}},
		{"a sidecar that is written and chmodded is read", "/run/runtime/a/a.daemon.json", modify | chmod, want{read: "a"}},
		{"a pid file that is made is read", "/run/runtime/a/daemon.pid", create, want{read: "a"}},
		{"a pid file that is written is read", "/run/runtime/a/daemon.pid", modify, want{read: "a"}},
		{"a pid file that is removed is read", "/run/runtime/a/daemon.pid", remove, want{read: "a"}},

		{"the trampoline is nothing", "/run/runtime/a/a", create, want{}},
		{"a log is nothing", "/run/runtime/a/a.log", modify, want{}},
		{"a temporary file is nothing", "/run/runtime/a/a.daemon.json.tmp", create, want{}},
		{"another dir's sidecar is nothing", "/run/runtime/a/b.daemon.json", create, want{}},
		{"a file below a subdir is nothing", "/run/runtime/a/sub/daemon.pid", create, want{}},

		{"a chmod of a dir is nothing", "/run/runtime/a", chmod, want{}},
		{"a chmod of a sidecar is nothing", "/run/runtime/a/a.daemon.json", chmod, want{}},
		{"a chmod of a pid file is nothing", "/run/runtime/a/daemon.pid", chmod, want{}},
		{"a chmod of an unknown dir is nothing", "/run/runtime/new", chmod, want{}},
		{"a chmod of a dir that could not be read is a reason to", "/run/runtime/shut", chmod, want{read: "shut"}},
		{"a chmod of a sidecar that could not be read is a reason to", "/run/runtime/shut/shut.daemon.json", chmod, want{read: "shut"}},

		{"a name may hold a newline", "/run/runtime/a\nb", create, want{read: "a\nb"}},
		{"a name may hold a newline, and so its sidecar", "/run/runtime/a\nb/a\nb.daemon.json", modify, want{read: "a\nb"}},
		{"a name may hold blanks and dots", "/run/runtime/.. a ..", create, want{read: ".. a .."}},
		{"a name of three dots is no wildcard", "/run/runtime/...", create, want{read: "..."}},
		{"a name need not be UTF-8", "/run/runtime/\xff", create, want{read: "\xff"}},
		{"a dir may be named like a pid file", "/run/runtime/daemon.pid", create, want{read: "daemon.pid"}},

		{"a quarantined dir is named", "/run/runtime/.pruned-a", create, want{read: ".pruned-a"}},
		{"a quarantined dir has no watch to doubt", "/run/runtime/.pruned-a", remove, want{read: ".pruned-a"}},
		{"a quarantined dir's sidecar has its former name", "/run/runtime/.pruned-a/a.daemon.json", remove, want{read: ".pruned-a"}},

		{"the root is removed", "/run/runtime", remove, want{root: true, rearm: true}},
		{"the root is renamed", "/run/runtime", rename, want{root: true, rearm: true}},
		{"the root is made", "/run/runtime", create, want{root: true, rearm: true}},
		{"a chmod of the root needs a look, no new watch", "/run/runtime", chmod, want{root: true}},
		{"the root's parent is removed", "/run", remove, want{root: true, rearm: true}},
		{"the root's parent is made", "/run", create, want{root: true, rearm: true}},
		{"the parent of that is made", "", create, want{root: true, rearm: true}},
		{"a chmod of the root's parent needs a look", "/run", chmod, want{root: true}},
		{"the root's second path is made", "/disk/runtime", create, want{root: true, rearm: true}},
		{"the parent of the second path is removed", "/disk", remove, want{root: true, rearm: true}},

		{"a sibling is nothing", "/run/other", create, want{}},
		{"a sibling whose name begins with the root's is nothing", "/run/runtime2", create, want{}},
		{"what is in such a sibling is nothing", "/run/runtime2/a", create, want{}},
		{"a sibling whose name the root's begins with is nothing", "/run/run", remove, want{}},
		{"a dir beside the root's parent is nothing", "/runner", remove, want{}},
	}
	data := string(filepath.Separator) + "data"
	dir := filepath.Join(data, "run", "runtime")
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			reg := registry.New(dir)
			w, _ := reg.Write()
			w.Put(daemondir.Entry{Name: "a"}, time.Time{})
			w.Put(daemondir.Entry{Name: "shut", Problem: daemondir.ProblemPermission}, time.Time{})
			h := newPending(reg, dir, []string{dir, filepath.Join(data, "disk", "runtime")})

			h.event(fsnotify.Event{Name: data + filepath.FromSlash(test.path), Op: test.op})

			var read []string
			if test.want.read != "" {
				read = []string{test.want.read}
			}
			if got := names(h.names); !slices.Equal(got, read) {
				t.Errorf("reads %q, want %q", got, read)
			}
			if got := h.moved.take(test.want.read); got != test.want.moved {
				t.Errorf("moved is %v, want %v", got, test.want.moved)
			}
			if len(h.moved.all()) > 0 {
				t.Errorf("keeps %v", h.moved.all())
			}
			if got := len(h.root) == 1; got != test.want.root {
				t.Errorf("looks at the root: %v, want %v", got, test.want.root)
			}
			if got := h.rearm.Load(); got != test.want.rearm {
				t.Errorf("rearm is %v, want %v", got, test.want.rearm)
			}
			if len(h.lost) > 0 {
				t.Error("takes the event for a loss")
			}
		})
	}
}

// A watch on the root of the file system reports "//name": a root waited for there was
// never found.
func TestEventBelowSlash(t *testing.T) {
	slash := string(filepath.Separator)
	if filepath.VolumeName(t.TempDir()) != "" {
		t.Skip("the root of a file system has another name here")
	}
	dir := slash + filepath.Join("data", "runtime")
	h := newPending(registry.New("/data"), dir, []string{dir})
	h.event(fsnotify.Event{Name: slash + slash + "data", Op: fsnotify.Create})
	if !h.rearm.Load() {
		t.Error("the root's parent is not recognised")
	}
}

// A root that is a symlink to its own parent is watched once, as that parent: what
// happens there concerns the root and the daemon dirs in it.
func TestEventInRootThatHoldsItsLink(t *testing.T) {
	dir := filepath.FromSlash("/data")
	h := newPending(registry.New("/data"), dir, []string{filepath.Join(dir, "link"), dir})
	h.event(fsnotify.Event{Name: filepath.Join(dir, "link"), Op: fsnotify.Remove})
	if !h.rearm.Load() {
		t.Error("the link is not recognised")
	}
	h.event(fsnotify.Event{Name: filepath.Join(dir, "a"), Op: fsnotify.Create})
	if got := names(h.names); !slices.Contains(got, "a") {
		t.Errorf("reads %q, want a too", got)
	}
}

// Lost events cost a scan: every error but the one that is known to be harmless.
func TestError(t *testing.T) {
	tests := []struct {
		rule string
		err  error
		lost bool
	}{
		{"the kernel's queue was full", fsnotify.ErrEventOverflow, true},
		{"reading events failed", os.ErrInvalid, true},
		{"whatever else it may be", errors.New("no idea"), true},
		{"a watch was gone before it was removed", syscall.EINVAL, false},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			h := newPending(registry.New("/data"), "/data", nil)
			h.error(test.err)
			h.error(test.err) // a second one must not block
			if got := len(h.lost) == 1; got != test.lost {
				t.Errorf("lost is %v, want %v", got, test.lost)
			}
		})
	}
}
