//go:build unix && (!linux || portable)

package daemondir

// Fd returns the descriptor of the open file.
func (f *File) Fd() int { return int(f.f.Fd()) }
