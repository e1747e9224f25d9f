package integration

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// tree is a snapshot of a directory and all below it: for each path its type, mode,
// inode, time of modification and content.
type tree map[string]string

func snapshot(t testing.TB, root string) tree {
	t.Helper()
	s := make(tree)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			var text []byte
			if text, err = os.ReadFile(path); err == nil {
				content = string(text)
			}
		case info.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		}
		if err != nil {
			return err
		}
		if len(content) > 1<<20 { // a trampoline
			content = fmt.Sprint(len(content), " bytes")
		}
		s[path] = fmt.Sprintf("%v inode %d, modified %d, content %q",
			info.Mode(), inode(info), info.ModTime().UnixNano(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustEqual fails the test for each path that differs.
func (s tree) mustEqual(t testing.TB, after tree) {
	t.Helper()
	var paths []string
	for path := range s {
		paths = append(paths, path)
	}
	for path := range after {
		if _, ok := s[path]; !ok {
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	for _, path := range paths {
		if s[path] != after[path] {
			t.Errorf("%q has changed\nfrom %s\nto   %s", path, orGone(s[path]), orGone(after[path]))
		}
	}
}

func orGone(state string) string {
	if state == "" {
		return "nothing"
	}
	return strings.ReplaceAll(state, secret, "(secret)")
}
