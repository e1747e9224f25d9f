//go:build !portable

package proc

import (
	"bufio"
	"bytes"
	"io"
	"os"

	"runtimegc/prune/internal/mounts"
)

// eachMapping calls each with the path of each file that is mapped by the process, or
// thread, whose directory in /proc that is (proc_pid_maps(5)):
//
//	00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
//
// So a program shows that is run by an emulator or by the loader (ld.so DIR/x), which is
// the executable then. It ends when each returns false.
func eachMapping(dir string, each func(path string) bool) error {
	f, err := os.Open(dir + "/maps")
	if err != nil {
		return err
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
				if !each(mounts.Unescape(string(path))) {
					return nil
				}
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
