//go:build !portable

package fsys

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A move of a directory changes its ctime and the mtime of the one above it, from "/" on. One
// of the two alone is somebody else's change.
func TestStayedAtEachLevel(t *testing.T) {
	r, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.Sleep(3 * Tick)
	for level := range len(strings.Split(r.RealPath(), "/")) {
		for _, row := range []struct{ moved, above, stayed bool }{{true, true, level == 0}, {true, false, true}, {false, true, true}} {
			stayed := func() bool {
				was, err := r.Position()
				if err != nil {
					t.Fatal(err)
				}
				if row.moved {
					was.way[level].ctime = was.way[level].ctime.Add(-time.Second)
				}
				if row.above && level > 0 {
					was.way[level-1].written = was.way[level-1].written.Add(-time.Second)
				}
				if err = r.Stayed(was); err != nil && err != ErrReplaced {
					t.Fatal(err)
				}
				return err == nil
			}
			what := fmt.Sprintf("level %d: %+v", level, row)
			if row.stayed {
				daemondirtest.Eventually(t, what, stayed) // others may change something in between
			} else if stayed() {
				t.Error(what)
			}
		}
	}
}
