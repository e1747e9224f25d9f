//go:build !portable

package fsys

import (
	"errors"
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
			// A change by others may come in between.
			daemondirtest.Eventually(t, fmt.Sprintf("level %d: %+v", level, row), func() bool {
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
				err = r.Stayed(was)
				return err == nil && row.stayed || errors.Is(err, ErrReplaced) && !row.stayed
			})
		}
	}
}
