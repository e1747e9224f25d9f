package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The memory of a watch: resident with an empty root, and what each daemon dir adds.
func BenchmarkMemory(b *testing.B) {
	empty := 0.0
	for _, n := range append([]int{0}, sizes(300_000, 1_000, 10_000, 100_000)...) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			root := benchRoot(b, true)
			fill(b, root, n, benchSidecar(time.Now(), time.Now()), noProcess)
			resident := newTurns(b, "KiB")
			for b.Loop() {
				w := startQuietWatch(b, root, n)
				resident.add("resident", float64(w.residentKB()))
				w.end()
			}
			resident.report()
			if n == 0 {
				empty = median(resident.counts["resident"])
				return
			}
			b.ReportMetric((median(resident.counts["resident"])-empty)*1024/float64(n), "B/dir")
		})
	}
}

// A watch over 1,000 dirs, 20 of them live, in which nothing happens and no sweep is due: how
// often it wakes up (the voluntary context switches of all its threads), and its processor time,
// each a minute. A turn takes ten seconds, or with GCTEST_LONG a minute.
func BenchmarkIdle(b *testing.B) {
	n, live, length := unlessShort(1_000), unlessShort(20), unlessShort(10*time.Second)
	if os.Getenv("GCTEST_LONG") != "" {
		length = time.Minute
	}
	root := benchRoot(b, true)
	fill(b, root, n-live, benchSidecar(time.Now(), time.Now()), noProcess)
	for i := range live {
		bear(b, root, "live-"+strconv.Itoa(i), strconv.Itoa(sleeper(b)))
	}
	w := startQuietWatch(b, root, n)
	turns := newTurns(b, "a-minute")
	for b.Loop() {
		used, woke, began := settled(b, w.cmd.Process.Pid), wakeUps(b, w.cmd.Process.Pid), time.Now()
		time.Sleep(length)
		minutes := time.Since(began).Minutes()
		turns.add("wake-ups", float64(wakeUps(b, w.cmd.Process.Pid)-woke)/minutes)
		turns.add("cpu-us", microseconds(cpuOf(b, w.cmd.Process.Pid)-used, 1)/minutes)
	}
	turns.report()
}

// wakeUps counts how often the threads of pid have gone to sleep by themselves, by proc(5).
func wakeUps(b *testing.B, pid int) int {
	b.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	noError(b, err)
	total := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		_, after, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		line, _, _ := strings.Cut(after, "\n")
		n, err := strconv.Atoi(strings.TrimSpace(line))
		noError(b, err)
		total += n
	}
	return total
}
