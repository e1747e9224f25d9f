package watcher

import (
	"os"
	"path/filepath"
	"slices"
)

// maxLinks is how many symlinks in a row are followed; it is Linux's limit.
const maxLinks = 40

// rootPaths returns the directory that root leads to, with symlinks resolved, and the
// paths at which a change can replace that directory: root itself and, if root is a
// symlink, every path it leads through. None of them needs to exist. They are resolved as
// far as they exist, so that each directory has only one name: two names of a directory
// share one watch, and fsnotify reports its events under the name that was added first.
func rootPaths(root string) (dir string, paths []string) {
	for path := root; len(paths) < maxLinks; {
		path = resolveAbove(path)
		paths = append(paths, path)
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	dir, err := filepath.EvalSymlinks(root)
	if err != nil {
		return paths[len(paths)-1], paths
	}
	if !slices.Contains(paths, dir) {
		paths = append(paths, dir)
	}
	return dir, paths
}

// Resolve returns the path that root leads to, with symlinks resolved as far as it exists.
func Resolve(root string) string {
	dir, _ := rootPaths(root)
	return dir
}

// resolveAbove resolves the symlinks in path, except in its last element.
func resolveAbove(path string) string {
	dir := nearestDir(filepath.Dir(path))
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return path
	}
	return filepath.Join(resolved, path[len(dir):])
}

// nearestDir returns path, or the first directory above it that exists.
func nearestDir(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return path
		}
		path = up
	}
}
