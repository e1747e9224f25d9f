//go:build unix && (!linux || portable)

package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseLsof(t *testing.T) {
	for _, row := range []struct {
		rule string
		out  string // | for NUL
		want []openFile
		bad  bool
	}{
		{"nothing", "", nil, false},
		{"two processes", "p1|\nfcwd|tDIR|n/|\nf3|tREG|n/a b|\np22|\nftxt|tREG|n/bin/x|\n",
			[]openFile{{1, "cwd", "DIR", "/"}, {1, "3", "REG", "/a b"}, {22, "txt", "REG", "/bin/x"}}, false},
		{"a process without files", "p1|\np2|\nf0|tCHR|n/dev/null|\n", []openFile{{2, "0", "CHR", "/dev/null"}}, false},
		{"a file without a type or a name", "p1|\nf3|\nf4|n/x|\n", []openFile{{1, "3", "", ""}, {1, "4", "", "/x"}}, false},
		{"fields that were not asked for", "p1|csleep|u0|\nfcwd|ar|l |tDIR|n/|\n", []openFile{{1, "cwd", "DIR", "/"}}, false},
		{"a newline in a name begins nothing", "p1|\nf3|tREG|n/a\np2|\n", []openFile{{1, "3", "REG", "/a\np2"}}, false},
		{"a warning before it", "lsof: WARNING\np1|\n", nil, false},
		{"cut off in a name", "p1|\nf3|tREG|n/a/long/na", nil, true},
		{"cut off before the end of a set", "p1|\nf3|tREG|n/a|", nil, true},
		{"no pid", "px|\nf3|n/a|\n", nil, true},
		{"a negative pid", "p-1|\nf3|n/a|\n", nil, true},
		{"a huge pid", "p4294967297|\nf3|n/a|\n", nil, true},
		{"a file of no process", "f3|n/a|\n", nil, true},
		{"a name of no file", "p1|n/a|\n", nil, true},
		{"a name of the process before", "p1|\nf3|n/a|\np2|n/b|\n", nil, true},
	} {
		got, err := parseLsof([]byte(strings.ReplaceAll(row.out, "|", "\x00")))
		if (err != nil) != row.bad || !row.bad && !slices.Equal(got, row.want) {
			t.Errorf("%s: %+v, %v", row.rule, got, err)
		}
	}
}

// Whatever is read, each file has a process, and writing it down and reading that yields the
// same.
func FuzzParseLsof(f *testing.F) {
	f.Add([]byte("p1\x00\nfcwd\x00tDIR\x00n/\x00\nf3\x00n/a\nb\x00\np2\x00\n"))
	f.Add([]byte("p1\x00\nf\x00\n"))
	f.Add([]byte("n\x00\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		files, err := parseLsof(out)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, file := range files {
			if file.pid < 0 {
				t.Fatalf("of no process: %+v", file)
			}
			fmt.Fprintf(&again, "p%d\x00\nf%s\x00t%s\x00n%s\x00\n", file.pid, file.fd, file.kind, file.name)
		}
		reread, err := parseLsof([]byte(again.String()))
		if err != nil || !slices.Equal(files, reread) {
			t.Fatalf("%+v\nread again: %+v, %v", files, reread, err)
		}
	})
}

// listed returns what lsof lists of this process, or skips the test where it is not installed.
func listed(t *testing.T) []openFile {
	t.Helper()
	files, _, err := lsofFiles()
	if err != nil {
		t.Skip(err)
	}
	return slices.DeleteFunc(files, func(f openFile) bool { return f.pid != int32(os.Getpid()) })
}

// The lsof that is installed here writes names as is assumed, whatever bytes they have, and
// whatever the locale is.
func TestEscapedAsByLsof(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"plain", " a  b ", "new\nline", "^A", "^A\x01", `a\b`, `\x5c`, `\n` + "\n", "jalapeño", "名前", "a (deleted)", "x type=y"}
	for c := 1; c < 256; c++ {
		if c != '/' {
			names = append(names, fmt.Sprintf("c%c", c), "c"+string([]byte{byte(c)}))
		}
	}
	fds := make(map[string]string)
	for _, name := range names {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			continue // this file system has no such names
		}
		defer f.Close()
		fds[fmt.Sprint(f.Fd())] = name
	}
	found := 0
	for _, f := range listed(t) {
		name, ok := fds[f.fd]
		if !ok {
			continue
		}
		found++
		if at := strings.LastIndexByte(f.name, '/'); !slices.Contains(escaped(name), f.name[at+1:]) {
			t.Errorf("%q is %q for lsof, none of %q", name, f.name[at+1:], escaped(name))
		}
	}
	if found < len(fds) || found < 100 {
		t.Errorf("%d of %d files are listed", found, len(fds))
	}
}
