package integration

import (
	"runtime"
	"strconv"
	"testing"
	"time"
)

// A sweep over dead dirs that have not changed, against a polling pass over them: the
// processor time for each dir.
func BenchmarkSweepDead(b *testing.B) {
	for _, n := range sizes(300_000, 1_000, 10_000, 100_000) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			const sweeps = 10
			root := benchRoot(b, false)
			fill(b, root, n, benchSidecar(time.Now(), time.Now()), noProcess)
			polling := newPollingCollector(root, 1000*time.Hour)
			h := newHouse(b, root, 1000*time.Hour)
			turns := newTurns(b, "us/dir")
			for b.Loop() {
				turns.add("ours", onOneProcessor(func() float64 {
					quiet()
					began := cpu()
					for range sweeps {
						h.sweep()
					}
					return microseconds(cpu()-began, sweeps*n)
				}))
				turns.add("polling", pollingPass(b, polling, n, 0))
			}
			turns.report([2]string{"ours", "polling"})
		})
	}
}

// A sweep over live dirs, each refreshed, and our own writes seen, against a polling
// pass over them: the processor time for each dir.
func BenchmarkSweepLive(b *testing.B) {
	for _, where := range []string{"disk", "memory"} {
		for _, n := range sizes(0, 1_000, 10_000) {
			b.Run(where+"/"+strconv.Itoa(n), func(b *testing.B) {
				root := benchRoot(b, where == "memory")
				fill(b, root, n, benchSidecar(time.Now(), time.Now()), strconv.Itoa(sleeper(b)))
				polling := newPollingCollector(root, 1000*time.Hour)
				turns := newTurns(b, "us/dir")
				h := newHouse(b, root, 1000*time.Hour)
				for b.Loop() {
					turns.add("ours", onOneProcessor(func() float64 {
						quiet()
						began := cpu()
						h.sweep()
						quiet()
						return microseconds(cpu()-began, n)
					}))
					// The house is not to pay for the polling collector's writes, nor this one
					// for being watched.
					h.stop()
					turns.add("polling", pollingPass(b, polling, n, n))
					h = newHouse(b, root, 1000*time.Hour)
				}
				turns.report([2]string{"ours", "polling"})
			})
		}
	}
}

// onOneProcessor returns what measure does on as many processors as a watch sweeps on.
func onOneProcessor(measure func() float64) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return measure()
}

// pollingPass makes one pass over n dirs, live of which are, and returns its processor time
// for each.
func pollingPass(b *testing.B, p *pollingCollector, n, live int) float64 {
	began := cpu()
	stats, err := p.pass(time.Now())
	if err != nil || stats.scanned != n || stats.refreshed != live {
		b.Fatalf("a polling pass over %d dirs: %+v, %v", n, stats, err)
	}
	return microseconds(cpu()-began, n)
}

// A start, from nothing until the first sweep is over, against one polling pass over the
// same dirs: the time on the clock and the processor time for each dir; dead ones on disk,
// and live ones, which are refreshed.
func BenchmarkStart(b *testing.B) {
	for _, n := range sizes(300_000, 1_000, 10_000, 100_000) {
		b.Run("dead/"+strconv.Itoa(n), func(b *testing.B) { benchStart(b, false, n, 0) })
	}
	n := unlessShort(10_000)
	b.Run("live/disk", func(b *testing.B) { benchStart(b, false, n, n) })
	b.Run("live/memory", func(b *testing.B) { benchStart(b, true, n, n) })
}

// benchStart starts over n dirs, all of which are live, or none.
func benchStart(b *testing.B, memory bool, n, live int) {
	root, pid := benchRoot(b, memory), noProcess
	if live > 0 {
		pid = strconv.Itoa(sleeper(b))
	}
	fill(b, root, n, benchSidecar(time.Now(), time.Now()), pid)
	polling := newPollingCollector(root, 1000*time.Hour)
	turns, load := newTurns(b, "us/dir"), newTurns(b, "cpu-us/dir")
	for b.Loop() {
		used, began := cpu(), time.Now()
		h := newHouse(b, root, 1000*time.Hour)
		turns.add("ours", microseconds(time.Since(began), n))
		load.add("ours", microseconds(cpu()-used, n))
		h.stop()
		quiet()
		began = time.Now()
		load.add("polling", pollingPass(b, polling, n, live))
		turns.add("polling", microseconds(time.Since(began), n))
	}
	turns.report([2]string{"ours", "polling"})
	load.report([2]string{"ours", "polling"})
}
