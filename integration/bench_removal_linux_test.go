package integration

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/watcher"
)

// The removal of stale dirs, from the scan on, against the polling collector's pass and
// rm -rf over as many: the time on the clock for each dir.
func BenchmarkRemoval(b *testing.B) {
	for _, where := range []string{"disk", "memory"} {
		for _, n := range sizes(0, 1_000, 10_000) {
			b.Run(where+"/"+strconv.Itoa(n), func(b *testing.B) {
				long := time.Now().Add(-time.Hour)
				stale := func() string {
					root := benchRoot(b, where == "memory")
					fill(b, root, n, benchSidecar(long, long), noProcess)
					quiet()
					return root
				}
				turns := newTurns(b, "us/dir")
				for b.Loop() {
					root := stale()
					began := time.Now()
					removeAll(b, root, n)
					turns.add("ours", microseconds(time.Since(began), n))

					root = stale()
					p := newPollingCollector(root, time.Minute)
					began = time.Now()
					if stats, err := p.pass(time.Now()); err != nil || stats.removed != n {
						b.Fatalf("%+v, %v", stats, err)
					}
					turns.add("polling", microseconds(time.Since(began), n))

					root = stale()
					began = time.Now()
					rm(b, root)
					turns.add("rm", microseconds(time.Since(began), n))
				}
				turns.report([2]string{"ours", "polling"}, [2]string{"ours", "rm"})
			})
		}
	}
}

// removeAll removes the stale dirs of root as `prune` does.
func removeAll(b *testing.B, root string, n int) {
	reg := registry.New(root)
	noError(b, watcher.Scan(context.Background(), reg))
	c, err := prune.New(prune.Options{
		Registry: reg, Log: zerolog.New(io.Discard), StaleAfter: time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	if swept, err := c.Sweep(context.Background(), nil); err != nil || swept.Removed != n {
		b.Fatalf("%+v, %v", swept.Stats, err)
	}
}

// How long a birth waits for its notice while 10,000 stale dirs are being removed.
func BenchmarkBirthDuringRemoval(b *testing.B) {
	n := unlessShort(10_000)
	turns := newTurns(b, "ms")
	for b.Loop() {
		root := benchRoot(b, false)
		long := time.Now().Add(-time.Hour)
		fill(b, root, n, benchSidecar(long, long), noProcess)
		// The removal begins with the start.
		w := startLines(b, watchCommand(b, root, "--stale-after", "1m"))
		w.waitFor(`"event":"daemon.removed"`)
		w.count(`"event":"sweep.done"`) // the end of it
		pid := strconv.Itoa(os.Getpid())
		var waits []float64
		for i := 0; i < 200 && w.soFar() == 0; i++ {
			name := fmt.Sprintf("born-%d", i)
			closed := bear(b, root, name, pid)
			waits = append(waits, float64(w.waitFor(`"daemon.live"`, `"`+name+`"`).Sub(closed).Microseconds())/1000)
			time.Sleep(2 * time.Millisecond)
		}
		w.counted(1)
		w.end()
		turns.add("median", median(waits))
		turns.add("p99", percentile(waits, 99))
		turns.add("worst", percentile(waits, 100))
	}
	turns.report()
}
