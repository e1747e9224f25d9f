package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A live daemon that writes a log into its own dir, so many lines a second: what share of
// one processor that costs. A polling collector does not notice.
func BenchmarkNoise(b *testing.B) {
	for _, rate := range sizes(0, 10, 100, 1_000, 10_000) {
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
				length, idle, began := unlessShort(2*time.Second), settled(b, w.cmd.Process.Pid), time.Now()
				for i := 1; time.Since(began) < length; i++ {
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

// One writer at full speed over two files of a live daemon's dir, by turns, so that the kernel
// merges nothing: how often its queue overflows in 10 s, what that costs, and how late births
// are noticed meanwhile.
func BenchmarkNoiseAtFullSpeed(b *testing.B) {
	root := benchRoot(b, false)
	n := unlessShort(1_000)
	fill(b, root, n, benchSidecar(time.Time{}, time.Now()), "")
	w := startQuietWatch(b, root, n)
	pid := strconv.Itoa(sleeper(b))
	var logs []*os.File
	for _, name := range []string{"a.log", "b.log"} {
		log, err := os.Create(filepath.Join(root, "daemon-0", name))
		noError(b, err)
		defer log.Close()
		logs = append(logs, log)
	}
	w.count(`"events.overflow"`)
	all := newTurns(b, "")
	for turn := 0; b.Loop(); turn++ {
		overflows, idle, began := w.soFar(), settled(b, w.cmd.Process.Pid), time.Now()
		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					stopped <- n
					return
				default:
					_, _ = logs[n%2].WriteAt([]byte("one line of a log, as long as they are\n"), 0)
				}
			}
		}()
		var births []float64
		for i := 0; time.Since(began) < unlessShort(10*time.Second); i++ {
			name := fmt.Sprintf("d-%d-%d", turn, i)
			closed := bear(b, root, name, pid)
			births = append(births, w.waitFor(`"daemon.live"`, `"`+name+`"`).Sub(closed).Seconds()*1000)
			time.Sleep(20 * time.Millisecond)
		}
		close(stop)
		all.add("writes/s", float64(<-stopped)/time.Since(began).Seconds())
		all.add("processor-%", 100*float64(cpuOf(b, w.cmd.Process.Pid)-idle)/float64(time.Since(began)))
		all.add("overflows", float64(w.soFar()-overflows))
		all.add("birth-ms", median(births))
		all.add("birth-p99-ms", percentile(births, 99))
	}
	all.report()
}
