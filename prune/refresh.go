package prune

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"runtimegc/registry/daemondir"
)

// tempName is the file that a refresh without a lease is written to, in the daemon
// dir. A daemon name may be 243 bytes long, so it is not made of that.
const tempName = ".runtimegc.tmp"

// errNotNow says that a refresh was left to the next sweep: somebody is at the
// sidecar, or it is not what it was when its daemon was judged.
var errNotNow = errors.New("not now")

// leaseTrust is how long after it was taken a lease is sure to stand: the kernel lets
// others in when it was not given back for /proc/sys/fs/lease-break-time, which is whole
// seconds. Whoever was stopped between lease and write asks the clock, not the kernel:
// that is no system call.
const leaseTrust = 250 * time.Millisecond

// A refresher refreshes sidecars of one root during one sweep. Make it with newRefresher
// and close it.
type refresher struct {
	root *daemondir.Root
	path string           // of the root
	now  func() time.Time // of the monotonic clock
	buf  []byte           // of the last sidecar
}

func newRefresher(root string) (*refresher, error) {
	r, err := daemondir.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &refresher{root: r, path: root, now: time.Now}, nil
}

func (r *refresher) close() { r.root.Close() }

// refresh sets last_seen_unix_ms in the sidecar of the daemon dir e to ms, if it still
// says what e does. No other byte changes but for padding; mode and owner stay. Under a
// lease the inode stays, too, and no update by somebody else is lost (lease_linux.go);
// replace says what is so where there are no leases. It returns e as it is now, or e
// itself if there was nothing to write; the error is errNotNow or says what is wrong.
//
// Six system calls: open, lease, read, write, stat, close.
func (r *refresher) refresh(e daemondir.Entry, ms uint64) (daemondir.Entry, error) {
	path := filepath.Join(r.path, e.Name, daemondir.SidecarName(e.Name))
	f, err := r.root.OpenSidecar(e.Name, daemondir.ReadWrite)
	if err != nil {
		return e, notNowIfGone(path, err)
	}
	defer f.Close()
	leased := r.now()
	switch takeLease(f) {
	case nil:
	case errOpenElsewhere:
		return e, errNotNow
	default:
		err := r.refreshUnleased(path, &e, ms)
		return e, err
	}
	text, said, err := r.read(f, e)
	if err != nil || said.LastSeen == daemondir.At(ms) {
		return e, err
	}
	tail, offset := said.WithLastSeen(text, ms)
	if r.now().Sub(leased) > leaseTrust {
		return e, errNotNow
	}
	if err := patch(f, text, tail, offset); err != nil {
		return e, fmt.Errorf("writing %q: %w", path, err)
	}
	e.LastSeen = daemondir.At(ms)
	e.Sidecar, err = f.Stamp()
	return e, err
}

// read reads the sidecar f of e; errNotNow: it does not say what e does. That it has the
// inode e had is not asked: what is judged is what it says.
func (r *refresher) read(f *daemondir.File, e daemondir.Entry) ([]byte, daemondir.Sidecar, error) {
	var same bool
	if r.buf, same = f.Whole(r.buf, e.Sidecar.Size); !same {
		return nil, daemondir.Sidecar{}, errNotNow
	}
	said, problem := daemondir.ParseSidecar(r.buf)
	if problem != daemondir.ProblemNone || said.SpawnedAt != e.SpawnedAt || said.Seen() != e.LastSeen {
		return nil, said, errNotNow
	}
	return r.buf, said, nil
}

// refreshUnleased is refresh where there are no leases.
func (r *refresher) refreshUnleased(path string, e *daemondir.Entry, ms uint64) error {
	d, err := daemondir.Open(r.path, e.Name)
	if err != nil {
		return notNowIfGone(filepath.Dir(path), err)
	}
	defer d.Close()
	f, err := d.OpenSidecar(daemondir.ReadWrite)
	if err != nil {
		return notNowIfGone(path, err)
	}
	defer f.Close()
	text, said, err := r.read(f, *e)
	if err != nil || said.LastSeen == daemondir.At(ms) {
		return err
	}
	tail, offset := said.WithLastSeen(text, ms)
	if err := replace(path, e.Dir, f, text, tail, offset); err != nil {
		return err
	}
	e.LastSeen = daemondir.At(ms)
	e.Sidecar = daemondir.SidecarStamp(r.path, e.Name)
	return nil
}

// notNowIfGone turns the errors of a dir that is being removed or rewritten into
// errNotNow.
func notNowIfGone(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, daemondir.ErrBusy) {
		return errNotNow
	}
	return fmt.Errorf("opening %q: %w", path, err)
}

// replace is the refresh where there are no leases: the new text in a file of the same
// mode, compared once more with the old one, renamed over it. An update that falls
// between the comparison and the rename is lost; that window is a few microseconds,
// but it is there.
func replace(path string, id daemondir.FileID, f *daemondir.File, text, tail []byte, offset int) error {
	dir, name := filepath.Split(path)
	d, err := os.OpenRoot(dir)
	if err != nil {
		return notNowIfGone(dir, err)
	}
	defer d.Close()
	// The dir that was judged, not what a symlink in its place leads to by now.
	if info, err := d.Stat("."); err != nil || daemondir.Identify(info) != id {
		return errNotNow
	}
	// The tail may end before the text does: a number in place of one as long.
	renewed := append(append([]byte(nil), text[:offset]...), tail...)
	if len(renewed) < len(text) {
		renewed = append(renewed, text[len(renewed):]...)
	}
	err = writeTemp(d, name, f.Mode(), renewed)
	if err == nil {
		err = unchanged(d, name, text)
	}
	if err == nil {
		err = d.Rename(tempName, name)
	}
	if err != nil {
		_ = d.Remove(tempName) // it may not have been made
		if errors.Is(err, errNotNow) {
			return err
		}
		return fmt.Errorf("replacing %q: %w", path, err)
	}
	return nil
}

// writeTemp writes text to a new temporary file of that mode, and of the owner of name.
func writeTemp(d *os.Root, name string, mode os.FileMode, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil {
		return errNotNow
	}
	_ = d.Remove(tempName) // left by a crash
	t, err := d.OpenFile(tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = t.Write(text)
	// The owner before the mode: chown(2) may clear bits of the latter.
	return errors.Join(err, keepOwner(t, info), t.Chmod(mode), t.Sync(), t.Close())
}

// unchanged returns errNotNow unless the file name still is one that holds text.
func unchanged(d *os.Root, name string, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(text)) {
		return errNotNow
	}
	f, err := d.Open(name)
	if err != nil {
		return errNotNow
	}
	defer f.Close()
	now, err := io.ReadAll(io.LimitReader(f, int64(len(text))+1))
	if err != nil || !bytes.Equal(now, text) {
		return errNotNow
	}
	return nil
}
