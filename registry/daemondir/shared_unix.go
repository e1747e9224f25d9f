//go:build unix

package daemondir

import "os"

// OpenList opens a directory to be listed.
func OpenList(path string) (*os.File, error) { return os.Open(path) }

// OpenShared is [os.OpenRoot].
func OpenShared(path string) (*os.Root, error) { return os.OpenRoot(path) }

// RemoveIn removes the file or empty directory name from r.
func RemoveIn(r *os.Root, name string) error { return r.Remove(name) }
