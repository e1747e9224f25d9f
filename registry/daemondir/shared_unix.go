//go:build unix

package daemondir

import "os"

// OpenShared is [os.OpenRoot].
func OpenShared(path string) (*os.Root, error) { return os.OpenRoot(path) }

// RemoveIn removes the file or empty directory name from r.
func RemoveIn(r *os.Root, name string) error { return r.Remove(name) }
