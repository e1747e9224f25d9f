package integration

// What a hostile root is filled with.

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// odd are the files that are none, made at a path.
func (h *hostile) odd() map[string]func(path string) error {
	odd := map[string]func(string) error{
		"fifo":     func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"socket":   listen,
		"dir":      func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o755) },
		"dangling": func(path string) error { return os.Symlink("nowhere", path) },
		"loop":     func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"precious": func(path string) error { return os.Symlink(h.precious, path) },
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5} {
		device := func(path string) error {
			return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor)))
		}
		probe := filepath.Join(filepath.Dir(h.root), "probe-"+name)
		if err := device(probe); err != nil {
			h.t.Logf("without the device %s: %v", name, err)
			continue
		}
		h.check(os.Remove(probe))
		odd[name] = device
	}
	return odd
}

// listen makes a socket. Its path may be longer than an address.
func listen(path string) error {
	short, err := os.MkdirTemp("", "sock")
	if err != nil {
		return err
	}
	defer os.RemoveAll(short)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(short, "s"), Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	return os.Rename(filepath.Join(short, "s"), path)
}

// fill makes all kinds of hostile entries.
func (h *hostile) fill() {
	h.t.Helper()
	for kind, put := range h.odd() {
		if kind != "dir" {
			h.check(put(h.dir("is-" + kind)))
			h.keep("is-" + kind)
		}
		h.mkdir("sidecar-" + kind)
		h.check(put(h.sidecar("sidecar-" + kind)))
		h.check(put(filepath.Join(h.due("pid-"+kind), "daemon.pid")))
		h.check(put(filepath.Join(h.due("holds-"+kind), kind)))
		h.check(put(filepath.Join(h.due("trampoline-"+kind), "trampoline-"+kind)))
		h.check(put(h.dir(".pruned-is-" + kind)))
		h.keep(".pruned-is-" + kind)
	}
	h.fillLinks()
	h.fillTexts()
	h.fillNames()
	h.fillQuarantined()
	for _, name := range h.goes {
		daemondirtest.MakeOld(h.t, h.dir(name), stale)
	}
	if os.Geteuid() != 0 {
		h.seal()
	}
	for name := range h.stays {
		h.stays[name] = shapes(h.t, h.dir(name))
	}
	h.before = snapshot(h.t, h.precious)
}

// fillLinks makes symlinks that lead to what is precious, at every level.
func (h *hostile) fillLinks() {
	link := func(target, path string) { h.check(os.Symlink(filepath.Join(h.precious, target), path)) }
	text := daemondirtest.Sidecar(ago(stale), ago(stale))
	h.check(os.Mkdir(filepath.Join(h.precious, "link"), 0o755))
	h.write(filepath.Join(h.precious, "link", "link.daemon.json"), string(text))
	link("link", h.dir("link"))
	h.keep("link")
	h.check(os.Symlink("../precious/link", h.dir(".pruned-link")))
	h.keep(".pruned-link")
	h.mkdir("link-sidecar")
	link("sidecar", h.sidecar("link-sidecar"))

	h.leave("link-pid", daemondirtest.Sidecar(time.Time{}, ago(stale)), "")
	h.goes = append(h.goes, "link-pid")
	link("pid", filepath.Join(h.dir("link-pid"), "daemon.pid"))
	dir := h.due("link-all")
	link("tool", filepath.Join(dir, "link-all"))
	link("sub", filepath.Join(dir, "sub"))
	h.check(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	link("sub", filepath.Join(dir, "a", "b", "sub"))
	h.check(os.Symlink("../..", filepath.Join(dir, "up")))
	h.check(os.Link(filepath.Join(h.precious, "sub", "below", "note"), filepath.Join(dir, "hard")))
	// The times must stay; a hard link's count may not.
}

// fillTexts makes sidecars and pid files of regular files with odd content.
func (h *hostile) fillTexts() {
	text := string(daemondirtest.Sidecar(ago(stale), ago(stale)))
	pad := func(size int) string { return text + strings.Repeat(" ", size-len(text)) }
	member := fmt.Sprintf(`{"spawned_at_unix_ms": %d, "last_seen_unix_ms": %[1]d, "a": `, ago(stale).UnixMilli())
	deep := func(open, shut string, levels int) string {
		return member + strings.Repeat(open, levels) + strings.Repeat(shut, levels) + "}"
	}
	for name, text := range map[string]string{
		"deep":         deep("[", "]", 500_000),
		"deep-objects": deep(`{"":`, "}", 200_000),
		"deep-cut":     member + strings.Repeat("[", 1_000_000),
		"over-1-mib":   pad(1<<20 + 1),
		"over-4-mib":   pad(4 << 20),
		"nul":          text + "\x00",
		"bom":          "\ufeff" + text,
	} {
		h.mkdir(name)
		h.write(h.sidecar(name), text)
	}
	// Many that are just not too large.
	for i := range 40 {
		name := fmt.Sprint("1-mib-", i)
		h.due(name)
		h.write(h.sidecar(name), pad(1<<20))
	}
	for name, huge := range map[string]int64{"20-gb": 20e9, "20-gb-pid": 20e9} {
		path := h.sidecar(name)
		if strings.HasSuffix(name, "-pid") {
			path = filepath.Join(h.due(name), "daemon.pid")
			h.write(path, strconv.Itoa(os.Getpid()))
		} else {
			h.mkdir(name)
			h.write(path, text)
		}
		if err := os.Truncate(path, huge); err != nil {
			h.t.Logf("%s is not so large: %v", name, err)
		}
	}
}

// fillNames makes daemon dirs with names of all kinds.
func (h *hostile) fillNames() {
	for _, name := range append(wildNames(), "-", "--", "..x", ". ", " ", "\n", "\x1b[2J", "\u0085", "\u009b2J", "\x9b2J", "\xff") {
		dir := h.due(name)
		h.check(os.MkdirAll(filepath.Join(dir, "\x1b[2J\n", "\xff\x9b"), 0o755))
		h.write(filepath.Join(dir, "\x1b[2J\n", "\xff\x9b", "\u009b31m"), "x")
	}
	// Too long for a sidecar to be named after.
	for _, length := range []int{244, 245, 247, 248, 255} {
		h.mkdir(strings.Repeat("y", length))
	}
}

// fillQuarantined makes dirs with names like those that removals give.
func (h *hostile) fillQuarantined() {
	due, recent := daemondirtest.Sidecar(ago(stale), ago(stale)), daemondirtest.Sidecar(ago(stale), time.Now().Add(time.Hour))
	put := func(name, sidecar string, text []byte) {
		h.check(os.Mkdir(h.dir(name), 0o755))
		h.check(os.WriteFile(filepath.Join(h.dir(name), sidecar+".daemon.json"), text, 0o644))
	}
	put(".pruned-due", "due", due)
	put(".pruned-.pruned-due", ".pruned-due", due)
	h.goes = append(h.goes, ".pruned-due", ".pruned-.pruned-due")
	put(".pruned-early", "early", recent)
	h.back = append(h.back, "early")
	// With names that lead elsewhere, or are taken.
	for name, sidecar := range map[string]string{
		".pruned-": "", ".pruned-.": ".", ".pruned-..": "..", ".pruned-taken": "taken", ".pruned-aside": "aside",
		".pruned-foreign": "another", ".pruned-own": ".pruned-own",
	} {
		put(name, sidecar, recent)
		h.keep(name)
	}
	h.mkdir("taken")
	h.check(os.Symlink("../precious/sub", h.dir("aside")))
	h.keep("aside")
	h.mkdir(".pruned-link-sidecar")
	h.check(os.Symlink(filepath.Join(h.precious, "sidecar"), filepath.Join(h.dir(".pruned-link-sidecar"), "link-sidecar.daemon.json")))
}

// seal makes dirs that their owner may not enter, and files that he may not read.
func (h *hostile) seal() {
	h.t.Cleanup(func() { chmodBelow(h.root, 0o755) })
	for _, mode := range []fs.FileMode{0, 0o200, 0o400, 0o444} {
		name := fmt.Sprintf("mode-%04o", mode)
		h.check(os.Mkdir(h.dir(name), 0o755))
		h.check(os.WriteFile(h.sidecar(name), daemondirtest.Sidecar(ago(stale), ago(stale)), 0o644))
		h.check(os.Chmod(h.dir(name), mode))
		h.keep(name)
	}
	h.mkdir("sidecar-mode-0000")
	h.check(os.WriteFile(h.sidecar("sidecar-mode-0000"), daemondirtest.Sidecar(ago(stale), ago(stale)), 0))
}
