package prune

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// errNotNow says that a refresh is left to the next sweep: another process has the sidecar
// open, or it has changed since its daemon was judged.
var errNotNow = errors.New("not now")

// errDiffers is the errNotNow of a dir that is not, on disk, what its entry says.
var errDiffers = fmt.Errorf("%w: it differs from its entry", errNotNow)

// maxLeaseAge is how long after taking a lease we rely on it. If another process opens the
// file, the kernel breaks the lease after /proc/sys/fs/lease-break-time, at least a second.
// We may be stopped for that long between lease and write; comparing the time detects this
// without a system call.
const maxLeaseAge = 250 * time.Millisecond

// A refresher refreshes sidecars of one root during one sweep. Make it with newRefresher
// and close it.
type refresher struct {
	root *daemondir.Root
	path string           // of the root
	now  func() time.Time // with the monotonic clock
	buf  []byte           // the last sidecar
}

func newRefresher(root string) (*refresher, error) {
	r, err := daemondir.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &refresher{root: r, path: root, now: time.Now}, nil
}

func (r *refresher) close() { r.root.Close() }

// refresh sets last_seen_unix_ms in the sidecar of the daemon dir e to ms, if the sidecar
// still says the same as e. No other byte changes, except for padding; mode and owner stay.
// Under a lease the inode stays as well, and no update by another process is lost
// (fsys.Patch); without leases one can be (fsys.Replace). It returns the new entry, or e if
// there was nothing to write. The error is errNotNow, errDiffers or says what is wrong.
//
// It makes six system calls: open, lease, read, write, stat, close.
func (r *refresher) refresh(e daemondir.Entry, ms uint64) (daemondir.Entry, error) {
	path := filepath.Join(r.path, e.Name, daemondir.SidecarName(e.Name))
	f, err := r.root.OpenSidecar(e.Name, daemondir.ReadWrite)
	if err != nil {
		return e, notNowIfGone(path, err)
	}
	leased := r.now()
	switch fsys.TakeLease(f) {
	case nil:
		defer f.Close()
	case fsys.ErrOpenElsewhere:
		f.Close()
		return e, errNotNow
	default:
		f.Close()
		err := r.refreshUnleased(path, &e, ms)
		return e, err
	}
	text, parsed, err := r.read(f, e)
	if err != nil || parsed.LastSeen == daemondir.At(ms) {
		return e, err
	}
	tail, offset := parsed.WithLastSeen(text, ms)
	if r.now().Sub(leased) > maxLeaseAge {
		return e, errNotNow
	}
	if err := fsys.Patch(f, text, tail, offset); fsys.Busy(err) {
		return e, errNotNow
	} else if err != nil {
		return e, fmt.Errorf("writing %q: %w", path, err)
	}
	if r.now().Sub(leased) > maxLeaseAge && !fsys.LeaseHeld(f) {
		if err := recheckWritten(f, fsys.Patched(text, tail, offset), tail, offset); err != nil {
			return e, fmt.Errorf("writing %q: %w", path, err)
		}
	}
	e.LastSeen = daemondir.At(ms)
	e.Sidecar, err = f.Stamp()
	return e, err
}

// errOverwritten says that a refresh may have damaged a sidecar. It cannot be repaired: what
// stood where we wrote is not known.
var errOverwritten = errors.New("this process was stopped right before the write, and another has written the file meanwhile; check it, or respawn the daemon")

// recheckWritten looks for what became of a write of tail, if we were stopped right before it
// for so long that the lease had ended: another process may have written the file. want is
// the file if it has not. The error is errOverwritten, or errNotNow if all of the file is
// the other's.
func recheckWritten(f *daemondir.File, want, tail []byte, offset int) error {
	now, _, _ := f.Text()
	switch {
	case bytes.Equal(now, want):
		return nil
	case len(now) >= offset+len(tail) && bytes.Equal(now[offset:offset+len(tail)], tail):
		return errOverwritten
	}
	return errNotNow
}

// read reads f, the sidecar of e. The error is errDiffers if it does not say the same as e.
// Its inode may have changed, because only its content was judged.
func (r *refresher) read(f *daemondir.File, e daemondir.Entry) ([]byte, daemondir.Sidecar, error) {
	var same bool
	if r.buf, same = f.Whole(r.buf, e.Sidecar.Size); !same {
		return nil, daemondir.Sidecar{}, errDiffers
	}
	parsed, problem := daemondir.ParseSidecar(r.buf)
	if problem != daemondir.ProblemNone || parsed.SpawnedAt != e.SpawnedAt || parsed.Seen() != e.LastSeen {
		return nil, parsed, errDiffers
	}
	return r.buf, parsed, nil
}

// refreshUnleased is refresh without leases.
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
	text, parsed, err := r.read(f, *e)
	if err != nil || parsed.LastSeen == daemondir.At(ms) {
		f.Close()
		return err
	}
	tail, offset := parsed.WithLastSeen(text, ms)
	switch err := fsys.Replace(path, e.Dir, f, text, tail, offset); {
	case errors.Is(err, fsys.ErrChanged):
		return errDiffers
	case fsys.Busy(err):
		return errNotNow
	case err != nil:
		return err
	}
	e.LastSeen = daemondir.At(ms)
	e.Sidecar = daemondir.SidecarStamp(r.path, e.Name)
	return nil
}

// notNowIfGone returns errDiffers if err is because the file is gone, and errNotNow if it is
// being rewritten.
func notNowIfGone(path string, err error) error {
	switch {
	case fsys.Gone(err):
		return errDiffers
	case fsys.Busy(err):
		return errNotNow
	}
	return fmt.Errorf("opening %q: %w", path, err)
}
