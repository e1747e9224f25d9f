//go:build !linux || portable

package daemondir

import "path/filepath"

// A Root is an open runtime root.
type Root struct{ path string }

// OpenRoot opens a runtime root, and follows a symlink.
func OpenRoot(path string) (*Root, error) { return &Root{path}, nil }

// Close closes the root; files opened from it stay open.
func (r *Root) Close() error { return nil }

// SidecarStamp is the function [SidecarStamp].
func (r *Root) SidecarStamp(name string) Stamp { return SidecarStamp(r.path, name) }

// PIDStamp is [Root.SidecarStamp] for the pid file.
func (r *Root) PIDStamp(name string) Stamp { return lstamp(filepath.Join(r.path, name, PIDFileName)) }

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
