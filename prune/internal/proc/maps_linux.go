//go:build !portable

package proc

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"time"

	"runtimegc/prune/internal/mounts"
	"runtimegc/registry/daemondir"
)

// mapsTimeout is how long the maps of a process may take to be read.
const mapsTimeout = time.Second

// mappings returns the path of each file that is mapped by the process, or thread, whose
// directory in /proc that is (proc_pid_maps(5)):
//
//	00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
//
// So a program shows that is run by an emulator or by the loader (ld.so DIR/x), which is
// the executable then. The error is [daemondir.ErrNoAnswer] after a second: the kernel makes
// the reader wait while a thread of the process changes its mappings, and that thread may wait
// for a file system that does not answer.
func mappings(dir string) ([]string, error) {
	type result struct {
		paths []string
		err   error
	}
	r, ok := daemondir.Within(mapsTimeout, dir+"/maps", func() result {
		paths, err := readMappings(dir)
		return result{paths, err}
	})
	if !ok {
		r.err = &fs.PathError{Op: "read", Path: dir + "/maps", Err: daemondir.ErrNoAnswer}
	}
	return r.paths, r.err
}

func readMappings(dir string) (paths []string, err error) {
	f, err := os.Open(dir + "/maps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var last []byte
	lines := bufio.NewReaderSize(f, 32<<10)
	for {
		line, err := lines.ReadSlice('\n') // longer than any path
		if start := bytes.IndexByte(line, '/'); start >= 0 {
			path := bytes.TrimSuffix(line[start:], []byte("\n"))
			if !bytes.Equal(path, last) {
				last = append(last[:0], path...)
				paths = append(paths, mounts.Unescape(string(path)))
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return paths, nil
		default:
			return paths, err
		}
	}
}
