package integration

import (
	"strconv"
	"testing"
	"time"
)

// The memory of a watch: resident with an empty root, and what each daemon dir adds.
func BenchmarkMemory(b *testing.B) {
	empty := 0.0
	for _, n := range []int{0, 1_000, 10_000, 100_000} {
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
