package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

// A disk whose journal is committed all the time, because another process calls fsync: how
// long a spawner waits for the open, with O_TRUNC, of a sidecar that we may be refreshing,
// against the same without a watch; how long sweeps over 200 live daemons take; and how long a
// birth waits for its notice.
func BenchmarkSlowDisk(b *testing.B) {
	live, opens, births := unlessShort(200), unlessShort(1000), unlessShort(100)
	all := newTurns(b, "ms")
	for turn := 0; b.Loop(); turn++ {
		for _, who := range []string{"ours", "none"} {
			root := benchRoot(b, false)
			pid := strconv.Itoa(sleeper(b))
			text := benchSidecar(time.Time{}, time.Now())
			fill(b, root, live, text, pid)
			names := daemonDirs(b, root)
			stop := syncing(b, filepath.Dir(root))
			var w *quietWatch
			if who == "ours" {
				w = startLines(b, watchCommand(b, root, "--sweep-interval", "50ms"))
				w.waitFor(`"event":"sweep.done"`)
			}
			var took []float64
			for range opens {
				name := names[rand.IntN(len(names))]
				began := time.Now()
				f, err := os.OpenFile(filepath.Join(root, name, daemondir.SidecarName(name)), os.O_WRONLY|os.O_TRUNC, 0)
				took = append(took, milliseconds(began))
				noError(b, err)
				_, err = f.Write(text)
				noError(b, err)
				noError(b, f.Close())
			}
			all.add("open-"+who, median(took))
			all.add("open-"+who+"-p99", percentile(took, 99))
			all.add("open-"+who+"-worst", percentile(took, 100))
			if w != nil {
				sweeps := w.sweepTimes()
				for len(sweeps) == 0 { // one takes longer than a few opens
					time.Sleep(10 * time.Millisecond)
					sweeps = w.sweepTimes()
				}
				all.add("sweep", median(sweeps))
				all.add("sweep-worst", percentile(sweeps, 100))
				took = nil
				for i := range births {
					name := fmt.Sprintf("born-%d-%d", turn, i)
					closed := bear(b, root, name, pid)
					took = append(took, float64(w.waitFor(`"daemon.live"`, `"`+name+`"`).Sub(closed).Microseconds())/1000)
				}
				all.add("birth", median(took))
				all.add("birth-worst", percentile(took, 100))
				w.end()
			}
			stop()
		}
	}
	all.report([2]string{"open-ours", "open-none"})
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// syncing appends to a file in dir, and has that on the disk, all the time until stop is called.
func syncing(b *testing.B, dir string) (stop func()) {
	b.Helper()
	f, err := os.CreateTemp(dir, "synced-")
	noError(b, err)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		page := make([]byte, 4096)
		for {
			select {
			case <-end:
				return
			default:
			}
			if _, err := f.Write(page); err != nil || f.Sync() != nil {
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		f.Close()
	}
}

// sweepTimes returns how many milliseconds each sweep took that was logged since the last line
// that was waited for.
func (w *quietWatch) sweepTimes() []float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var took []float64
	for _, line := range w.lines {
		var sweep struct {
			Took float64 `json:"duration_ms"`
		}
		if bytes.Contains(line.text, []byte(`"sweep.done"`)) && json.Unmarshal(line.text, &sweep) == nil {
			took = append(took, sweep.Took)
		}
	}
	return took
}
