package integration

import (
	"testing"
	"time"
)

// A storm: 20,000 daemon dirs made as fast as two writers can, against a bare inotify
// loop that reads each file once: how long after the last write all are known, and the
// processor time for each dir.
func BenchmarkStorm(b *testing.B) {
	n := unlessShort(20_000)
	lag, load := newTurns(b, "ms"), newTurns(b, "cpu-us/dir")
	for b.Loop() {
		root := benchRoot(b, false)
		w := startQuietWatch(b, root, 0)
		idle := cpuOf(b, w.cmd.Process.Pid)
		lag.add("ours", storming(b, root, n, w, `"daemon.added"`))
		load.add("ours", microseconds(settled(b, w.cmd.Process.Pid)-idle, n))
		w.end()

		root = benchRoot(b, false)
		bare := startBare(b, "files", root)
		idle = cpuOf(b, bare.cmd.Process.Pid)
		lag.add("bare", storming(b, root, n, bare, "born "))
		load.add("bare", microseconds(settled(b, bare.cmd.Process.Pid)-idle, n))
		bare.end()
	}
	lag.report()
	load.report([2]string{"ours", "bare"})
}

// storming makes n dirs and returns how many milliseconds after the last write w had
// said all of them.
func storming(b *testing.B, root string, n int, w *quietWatch, word string) float64 {
	w.count(word)
	fill(b, root, n, benchSidecar(time.Now(), time.Now()), noProcess)
	written := time.Now()
	last := w.counted(n)
	return float64(max(0, last.Sub(written)).Microseconds()) / 1000
}
