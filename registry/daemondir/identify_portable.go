//go:build unix && (!linux || portable)

package daemondir

import "os"

// IdentifyPath returns the identity of the file or directory at path, and follows symlinks.
func IdentifyPath(path string) (FileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return FileID{}, err
	}
	return identify(info), nil
}
