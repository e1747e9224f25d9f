//go:build !linux || portable

package daemondir

// A Root is an open runtime root.
type Root struct{ path string }

// OpenRoot opens a runtime root, and follows a symlink.
func OpenRoot(path string) (*Root, error) { return &Root{path}, nil }

// Close closes the root; files opened from it stay open.
func (r *Root) Close() error { return nil }

// PIDStamp is like the function [PIDStamp].
func (r *Root) PIDStamp(name string) Stamp { return PIDStamp(r.path, name) }

// OpenDir is the function [Open].
func (r *Root) OpenDir(name string) (*Dir, error) { return Open(r.path, name) }

// OpenSidecar is [Dir.OpenSidecar] of the daemon dir name.
func (r *Root) OpenSidecar(name string, mode Mode) (*File, error) {
	d, err := Open(r.path, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.OpenSidecar(mode)
}
