//go:build unix && (!linux || portable)

package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// An openFile is a file that a process has, as lsof(8) names it under "OUTPUT FOR OTHER
// PROGRAMS".
type openFile struct {
	pid  int32
	fd   string // its number, or "cwd", "rtd", "txt", "mem" and the like
	kind string // "DIR", "REG", "unix" and the like; "unknown" if lsof was refused it
	name string // as lsof writes it, see escaped
}

var (
	// lsofTime is how long lsof may take. With 10,000 open files it takes half a second.
	lsofTime = 30 * time.Second
	// lsofPlaces are where lsof is on macOS and, as a package, on FreeBSD: the PATH of cron(8)
	// has neither.
	lsofPlaces = []string{"/usr/sbin/lsof", "/usr/local/sbin/lsof"}
)

// lsofFiles runs lsof for what all processes have open, and returns its own pid as well. The
// options: no warnings; numbers instead of names of hosts, ports and users; 2 seconds, not 15,
// for each mounted file system that does not answer; for each process the pid, for each file
// descriptor, type and name, each ended by a NUL.
func lsofFiles() (files []openFile, own int32, err error) {
	path, err := exec.LookPath("lsof")
	for _, place := range lsofPlaces {
		if err != nil {
			path, err = exec.LookPath(place)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open files are not known without lsof: %w", errors.Unwrap(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), lsofTime)
	defer cancel()
	args := []string{"-w", "-n", "-P", "-l", "-S2", "-F", "pftn0"}
	if runtime.GOOS == "linux" {
		args = append(args, "-K", "i") // it would list what all threads share once for each
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")} // escapes depend on the locale
	cmd.Dir = "/"                                               // it and its child must use no daemon dir
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, 0, fmt.Errorf("lsof has not ended within %s", lsofTime)
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		// Something could not be listed, which is as usual.
	case err != nil:
		return nil, 0, fmt.Errorf("lsof: %w", err)
	}
	files, err = parseLsof(out)
	return files, int32(cmd.Process.Pid), err
}

// parseLsof reads the output of lsof -F pftn0: fields of an identifying character and a value,
// each ended by a NUL. A "p" begins a process and an "f" a file; a newline after the last
// field of either is in front of the next one here. Fields of other characters are skipped.
func parseLsof(out []byte) ([]openFile, error) {
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\x00\n")) {
		return nil, errors.New("the output of lsof is cut off")
	}
	var files []openFile
	pid, inFile := int32(-1), false
	for field := range bytes.SplitSeq(out, []byte{0}) {
		field = bytes.TrimPrefix(field, []byte("\n"))
		if len(field) == 0 {
			continue
		}
		id, value := field[0], string(field[1:])
		switch {
		case id == 'p':
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil || n < 0 {
				return nil, errors.New("the output of lsof has an invalid pid")
			}
			pid, inFile = int32(n), false
		case id == 'f' && pid >= 0:
			files = append(files, openFile{pid: pid, fd: value})
			inFile = true
		case id == 'f', (id == 't' || id == 'n') && !inFile:
			return nil, errors.New("the output of lsof has a file of no process")
		case id == 't':
			files[len(files)-1].kind = value
		case id == 'n':
			files[len(files)-1].name = value
		}
	}
	return files, nil
}

// escaped returns how lsof may write a name in the locale C. Bytes that are not printable ASCII
// are \b, \f, \n, \r, \t, ^X if they are other control characters, or \xNN. How a backslash is
// written depends on the version.
func escaped(name string) []string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c < ' ' && strings.IndexByte("\b\f\n\r\t", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte("bfnrt"[strings.IndexByte("\b\f\n\r\t", c)])
		case c < ' ':
			b.WriteByte('^')
			b.WriteByte(c + '@')
		case c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		case c == '\\':
			b.WriteByte(0) // no name has one
		default:
			b.WriteByte(c)
		}
	}
	if strings.IndexByte(name, '\\') < 0 {
		return []string{b.String()}
	}
	var ways []string
	for _, backslash := range []string{`\\`, `\x5c`, `\`} {
		ways = append(ways, strings.ReplaceAll(b.String(), "\x00", backslash))
	}
	return ways
}
