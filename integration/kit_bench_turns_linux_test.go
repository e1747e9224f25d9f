package integration

// What the program costs, beside what others cost in the same run: the polling
// collector, a bare inotify or pidfd loop, rm -rf. The command is in PERFORMANCE.md:
//
//	go test ./integration -run '^$' -bench . -benchtime 5x -timeout 1h
//
// Each benchmark takes turns with its partner, -benchtime says how often, and reports
// medians: ours, the partner's, and the ratio. Its log has the lowest and the highest, too.
// With -short they are small, and only show that they run; with GCTEST_LONG=1 there are
// sizes that take minutes to make.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry"
	"runtimegc/registry/daemondir/daemondirtest"
	"runtimegc/watcher"
)

// turns are the figures of one benchmark, by turn.
type turns struct {
	b      *testing.B
	unit   string
	counts map[string][]float64
}

func newTurns(b *testing.B, unit string) *turns {
	return &turns{b: b, unit: unit, counts: make(map[string][]float64)}
}

func (t *turns) add(who string, figure float64) { t.counts[who] = append(t.counts[who], figure) }

// report reports the median of each, and the median of the ratios of each pair given. The
// lowest and the highest are logged.
func (t *turns) report(pairs ...[2]string) {
	t.b.Helper()
	t.b.ReportMetric(0, "ns/op") // a turn of all together says nothing
	var spread []string
	put := func(what string, figures []float64) {
		t.b.ReportMetric(median(figures), strings.TrimSuffix(what+"-"+t.unit, "-"))
		spread = append(spread, fmt.Sprintf("%s %s (%s to %s)", what,
			digits(median(figures)), digits(slices.Min(figures)), digits(slices.Max(figures))))
	}
	for _, who := range slices.Sorted(maps.Keys(t.counts)) {
		put(who, t.counts[who])
	}
	for _, pair := range pairs {
		ours, theirs := t.counts[pair[0]], t.counts[pair[1]]
		var ratios []float64
		for i := range min(len(ours), len(theirs)) {
			ratios = append(ratios, ours[i]/theirs[i])
		}
		put(pair[0]+"/"+pair[1], ratios)
	}
	if t.b.N > 1 {
		t.b.Log(strings.TrimPrefix(t.unit+": "+strings.Join(spread, "; "), ": "))
	}
}

// digits renders a figure with three digits, or as many as its whole part has.
func digits(figure float64) string {
	if figure >= 1000 {
		return fmt.Sprintf("%.0f", figure)
	}
	return fmt.Sprintf("%.3g", figure)
}

// sizes returns the sizes that a benchmark is run with: usual ones, and a long one, unless it
// is 0, if GCTEST_LONG is set; with -short a small one only.
func sizes(long int, usual ...int) []int {
	switch {
	case testing.Short():
		return []int{max(10, unlessShort(usual[0]))}
	case long > 0 && os.Getenv("GCTEST_LONG") != "":
		return append(usual, long)
	}
	return usual
}

// unlessShort returns usual, or with -short a twentieth of it.
func unlessShort[T int | time.Duration](usual T) T {
	if testing.Short() {
		return usual / 20
	}
	return usual
}

func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// percentile returns the p-th percentile.
func percentile(figures []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// cpu is the processor time that this process has used, by all its threads.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// microseconds of d for each of n.
func microseconds(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(n)
}

// benchRoot returns an empty runtime root on ext4 or whatever the temporary directory
// is on, or with memory set in memory.
func benchRoot(b *testing.B, memory bool) string {
	b.Helper()
	dir := b.TempDir()
	if memory {
		var err error
		if dir, err = os.MkdirTemp("/dev/shm", "runtimegc-bench-"); err != nil {
			b.Skip(err)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	root := filepath.Join(dir, "runtime")
	noError(b, os.Mkdir(root, 0o755))
	return root
}

// benchSidecar is a sidecar of about a kilobyte, as most are.
func benchSidecar(spawnedAt, lastSeen time.Time) []byte {
	text := daemondirtest.Sidecar(spawnedAt, lastSeen)
	return bytes.Replace(text, []byte(`"PATH": "`), []byte(`"PATH": "`+strings.Repeat("/opt/tools/bin:", 40)), 1)
}

// fill makes n daemon dirs with the same sidecar and pid, by two writers. The
// trampoline is a link to one binary, as it is in life.
func fill(b testing.TB, root string, n int, sidecar []byte, pid string) {
	image := filepath.Join(filepath.Dir(root), "image")
	noError(b, os.WriteFile(image, []byte("#!/bin/true\n"), 0o755))
	write := func(i int) error {
		d := daemondirtest.Dir{Root: root, Name: "daemon-" + strconv.Itoa(i)}
		if err := errors.Join(d.Mkdir(), d.WriteSidecar(sidecar)); err != nil {
			return err
		}
		// A file has no more than 65,000 links on ext4.
		if i%60_000 == 0 && i > 0 {
			return d.WritePID(pid)
		}
		trampoline := filepath.Join(d.Path(), d.Name)
		if err := os.Link(image, trampoline); err != nil && !os.IsExist(err) {
			// ... and then the spawner copies.
			if err := os.WriteFile(trampoline, []byte("#!/bin/true\n"), 0o755); err != nil {
				return err
			}
		}
		return d.WritePID(pid)
	}
	var writers sync.WaitGroup
	for first := range 2 {
		writers.Go(func() {
			for i := first; i < n; i += 2 {
				if err := write(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// sleeper starts a process that waits, and returns its pid.
func sleeper(b *testing.B) int {
	b.Helper()
	cmd := waiting(trampolineImage(b))
	noError(b, cmd.Start())
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// house is watcher, registry and collector in this process, wired as the program
// wires them.
type house struct {
	b         *testing.B
	reg       *registry.Registry
	collector *prune.Collector
	swept     chan struct{}
	stop      func()
}

// Write takes in the log, one line at a time.
func (h *house) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"event":"sweep.done"`)) {
		h.swept <- struct{}{}
	}
	return len(line), nil
}

// newHouse starts a house on root and returns when its first sweep is over.
func newHouse(b *testing.B, root string, staleAfter time.Duration) *house {
	b.Helper()
	h := &house{b: b, reg: registry.New(root), swept: make(chan struct{})}
	log := zerolog.New(h).Level(zerolog.DebugLevel)
	watch, err := watcher.New(watcher.Options{Registry: h.reg, Log: log, CheckInterval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	h.collector, err = prune.New(prune.Options{
		Registry: h.reg, Log: log, StaleAfter: staleAfter, SweepInterval: 1000 * time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- h.collector.Run(ctx, watch) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(h.stop)
	<-h.swept
	return h
}

// sweep makes one sweep and returns when it is over.
func (h *house) sweep() {
	h.collector.SweepNow()
	<-h.swept
}

// quiet waits until this process has used no time to speak of for a while: until all
// that was begun is done.
func quiet() {
	for last := cpu(); ; {
		time.Sleep(100 * time.Millisecond)
		now := cpu()
		if now-last < 500*time.Microsecond {
			return
		}
		last = now
	}
}

// settled waits until pid has used no time for a while, and returns what it has used.
func settled(b *testing.B, pid int) time.Duration {
	b.Helper()
	for last := time.Duration(-1); ; {
		used := cpuOf(b, pid)
		if used == last {
			return used
		}
		last = used
		time.Sleep(200 * time.Millisecond)
	}
}

// cpuOf is the processor time that pid has used, by all its threads, by
// proc_pid_schedstat(5): in nanoseconds, where /proc/pid/stat has ticks.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(paths) == 0 {
		b.Skip("no schedstat")
	}
	var total time.Duration
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		total += time.Duration(n)
	}
	return total
}

// rm is rm -rf, the floor of removal.
func rm(b *testing.B, dir string) {
	if out, err := exec.Command("rm", "-rf", dir).CombinedOutput(); err != nil {
		b.Fatalf("rm: %v\n%s", err, out)
	}
}
