package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/prune"
	"runtimegc/registry/daemondir/daemondirtest"
)

// BenchmarkList lists 10,000 dirs (100 with -short) of dead daemons, with sidecars of ordinary length: dirs
// that are not due, and dirs that are, for which list makes more checks.
func BenchmarkList(b *testing.B) {
	for _, bench := range []struct {
		name string
		age  time.Duration
	}{{"recent", time.Minute}, {"due", 24 * time.Hour}} {
		b.Run(bench.name, func(b *testing.B) {
			root := b.TempDir()
			seen := time.Now().Add(-bench.age).UnixMilli()
			sidecar := fmt.Sprintf(`{"env": {"PATH": "%s"}, "spawned_at_unix_ms": %d}`, strings.Repeat("/usr/bin:", 250), seen)
			n := 10_000
			if testing.Short() {
				n = 100
			}
			for i := range n {
				daemondirtest.Make(b, root, fmt.Sprintf("daemon-%d", i), sidecar, strconv.Itoa(daemondirtest.DeadPID))
			}
			for b.Loop() {
				if code := run(b.Context(), []string{"list", "--root", root}, io.Discard, os.Stderr); code != 0 {
					b.Fatalf("exit code %d", code)
				}
			}
		})
	}
}

// BenchmarkPrint prints the table of 300,000 rows: no cost of a row may grow with their number.
func BenchmarkPrint(b *testing.B) {
	for _, n := range []int{3_000, 300_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			if testing.Short() && n > 3_000 {
				b.Skip("with -short it is small")
			}
			var rows []prune.Row
			for i := range n {
				rows = append(rows, dead(fmt.Sprint("daemon-", i), time.Duration(i)*time.Second+time.Hour))
			}
			l := listingOf(rows)
			for b.Loop() {
				if err := l.print(io.Discard, tableNow, 80, true); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
		})
	}
}
