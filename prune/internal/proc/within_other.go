//go:build !linux || portable

package proc

import (
	"path/filepath"
	"runtime"
	"strings"

	"runtimegc/registry/daemondir"
)

// places identifies directories by their paths, and asks the system only once for each.
type places map[string]place

type place struct {
	id  daemondir.FileID
	err error
}

func (p places) identify(path string) (daemondir.FileID, error) {
	at, known := p[path]
	if !known {
		at.id, at.err = daemondir.IdentifyPath(path)
		p[path] = at
	}
	return at.id, at.err
}

// below returns what is directly in the directory dir on the way to path, as path spells it, or
// "" if path does not lead into dir. The directory is recognised by its identity id, unless
// that is unknown, or by its path: a system may know one by several, such as c:\Data, C:\data
// and C:\DATA~1.
func (p places) below(path, dir string, id daemondir.FileID) string {
	for at := filepath.Clean(path); ; {
		above := filepath.Dir(at)
		if above == at {
			return ""
		}
		if samePath(above, dir) {
			return at
		}
		if now, err := p.identify(above); err == nil && now == id && id != (daemondir.FileID{}) {
			return at
		}
		at = above
	}
}

// samePath compares two paths as the file system does: on Windows case does not matter.
func samePath(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}
