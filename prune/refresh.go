package prune

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

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
// lease the inode stays, too, and no update by somebody else is lost (fsys.Patch);
// without leases there is a window (fsys.Replace). It returns e as it is now, or e
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
	switch fsys.TakeLease(f) {
	case nil:
	case fsys.ErrOpenElsewhere:
		return e, errNotNow
	default:
		err := r.refreshUnleased(path, &e, ms)
		return e, err
	}
	text, parsed, err := r.read(f, e)
	if err != nil || parsed.LastSeen == daemondir.At(ms) {
		return e, err
	}
	tail, offset := parsed.WithLastSeen(text, ms)
	if r.now().Sub(leased) > leaseTrust {
		return e, errNotNow
	}
	if err := fsys.Patch(f, text, tail, offset); err != nil {
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
	parsed, problem := daemondir.ParseSidecar(r.buf)
	if problem != daemondir.ProblemNone || parsed.SpawnedAt != e.SpawnedAt || parsed.Seen() != e.LastSeen {
		return nil, parsed, errNotNow
	}
	return r.buf, parsed, nil
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
	text, parsed, err := r.read(f, *e)
	if err != nil || parsed.LastSeen == daemondir.At(ms) {
		return err
	}
	tail, offset := parsed.WithLastSeen(text, ms)
	switch err := fsys.Replace(path, e.Dir, f, text, tail, offset); {
	case errors.Is(err, fsys.ErrChanged):
		return errNotNow
	case err != nil:
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
