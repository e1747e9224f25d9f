package integration

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// Notice of a birth: pid file closed to the line in the log, against a bare inotify
// loop; idle, and with both processors busy.
func BenchmarkBirth(b *testing.B) {
	for _, load := range []string{"idle", "busy"} {
		b.Run(load, func(b *testing.B) {
			births := unlessShort(200)
			if load == "busy" {
				busy(b)
			}
			ours, theirs := benchRoot(b, false), benchRoot(b, false)
			w := startQuietWatch(b, ours, 0)
			bare := startBare(b, "births", theirs)
			pid := strconv.Itoa(sleeper(b))
			all := newTurns(b, "us")
			for turn := 0; b.Loop(); turn++ {
				var mine, floor []float64
				for i := range births {
					name := fmt.Sprintf("d-%d-%d", turn, i)
					closed := bear(b, ours, name, pid)
					mine = append(mine, microseconds(w.waitFor(`"daemon.live"`, `"`+name+`"`).Sub(closed), 1))
					time.Sleep(time.Millisecond)
					closed = bear(b, theirs, name, pid)
					floor = append(floor, microseconds(bare.waitFor("born "+name).Sub(closed), 1))
					time.Sleep(time.Millisecond)
				}
				all.add("ours", median(mine))
				all.add("ours-p99", percentile(mine, 99))
				all.add("bare", median(floor))
				all.add("bare-p99", percentile(floor, 99))
			}
			all.report([2]string{"ours", "bare"})
		})
	}
}

// Notice of an exit: kill to the line in the log, against a bare epoll on a pidfd.
func BenchmarkExit(b *testing.B) {
	exits := unlessShort(50)
	root := benchRoot(b, false)
	w := startQuietWatch(b, root, 0)
	all := newTurns(b, "us")
	for turn := 0; b.Loop(); turn++ {
		var mine, floor []float64
		for i := range exits {
			name := fmt.Sprintf("d-%d-%d", turn, i)
			cmd := sleeping(b)
			bear(b, root, name, strconv.Itoa(cmd.Process.Pid))
			w.waitFor(`"daemon.live"`, `"`+name+`"`)
			time.Sleep(5 * time.Millisecond)
			killed := time.Now()
			cmd.Process.Kill()
			mine = append(mine, microseconds(w.waitFor(`"daemon.exited"`, `"`+name+`"`).Sub(killed), 1))
			cmd.Wait()

			cmd = sleeping(b)
			bare := startBare(b, "exits", strconv.Itoa(cmd.Process.Pid))
			time.Sleep(5 * time.Millisecond)
			killed = time.Now()
			cmd.Process.Kill()
			floor = append(floor, microseconds(bare.waitFor("exited").Sub(killed), 1))
			cmd.Wait()
			bare.end()
		}
		all.add("ours", median(mine))
		all.add("bare", median(floor))
	}
	all.report([2]string{"ours", "bare"})
}
