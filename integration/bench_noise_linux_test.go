package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A live daemon that writes a log into its own dir, so many lines a second: what share of
// one processor that costs. A polling collector does not notice.
func BenchmarkNoise(b *testing.B) {
	for _, rate := range []int{10, 100, 1_000, 10_000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) {
			root := benchRoot(b, false)
			fill(b, root, 1, benchSidecar(time.Time{}, time.Now()), strconv.Itoa(sleeper(b)))
			w := startQuietWatch(b, root, 1)
			log, err := os.Create(filepath.Join(root, "daemon-0", "out.log"))
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
			all := newTurns(b, "%")
			for b.Loop() {
				idle, began := settled(b, w.cmd.Process.Pid), time.Now()
				for i := 1; time.Since(began) < 2*time.Second; i++ {
					if _, err := log.WriteString("one line of a log, as long as they are\n"); err != nil {
						b.Fatal(err)
					}
					time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				}
				took := time.Since(began)
				all.add("processor", 100*float64(cpuOf(b, w.cmd.Process.Pid)-idle)/float64(took))
			}
			all.report()
		})
	}
}
