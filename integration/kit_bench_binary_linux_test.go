package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// quietWatch is a running watch, as built, of which a benchmark hears a few lines.
type quietWatch struct {
	b   *testing.B
	cmd *exec.Cmd

	more chan struct{}

	mu    sync.Mutex // guards all below
	lines []logLine
	word  []byte    // lines that hold it are counted and not kept
	n     int       // how many there were
	last  time.Time // when the last was read
}

// logLine is a line of the log, and when it was read.
type logLine struct {
	text []byte
	at   time.Time
}

// startQuietWatch starts a watch on root and returns when its first sweep, of n dirs,
// is over and it has gone quiet.
func startQuietWatch(b *testing.B, root string, n int, args ...string) *quietWatch {
	b.Helper()
	w := startLines(b, watchCommand(b, root, args...))
	w.wait(func(line []byte) bool {
		return bytes.Contains(line, []byte(`"event":"sweep.done"`)) &&
			bytes.Contains(line, []byte(fmt.Sprintf(`"checked":%d,`, n)))
	})
	settled(b, w.cmd.Process.Pid)
	return w
}

// watchCommand is the watch of a benchmark: everything is said, and sweeps come only at
// the start.
func watchCommand(b *testing.B, root string, args ...string) *exec.Cmd {
	return exec.Command(binary(b), append([]string{"watch", "--root", root, "--log-format", "json", "--log-level", "debug",
		"--sweep-interval", "1000h", "--stale-after", "1000h"}, args...)...)
}

// startLines starts cmd and listens to its stderr.
func startLines(b *testing.B, cmd *exec.Cmd) *quietWatch {
	b.Helper()
	w := &quietWatch{b: b, cmd: cmd, more: make(chan struct{}, 1)}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	noError(b, cmd.Start())
	go func() {
		r := bufio.NewReaderSize(stderr, 1<<16)
		for {
			line, err := r.ReadBytes('\n')
			at := time.Now()
			w.mu.Lock()
			switch {
			case w.word != nil && bytes.Contains(line, w.word):
				w.n++
				w.last = at
			case bytes.Contains(line, []byte(`"event":"daemon.added"`)): // of which nobody asks
			default:
				w.lines = append(w.lines, logLine{line, at})
			}
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	b.Cleanup(w.end)
	return w
}

// wait returns when the first line came for which is says true, and forgets it and what
// came before.
func (w *quietWatch) wait(is func(line []byte) bool) time.Time {
	w.b.Helper()
	deadline := time.After(10 * time.Minute)
	for {
		w.mu.Lock()
		for i, line := range w.lines {
			if is(line.text) {
				w.lines = w.lines[i+1:]
				w.mu.Unlock()
				return line.at
			}
		}
		w.mu.Unlock()
		select {
		case <-w.more:
		case <-deadline:
			w.b.Fatal("the line did not come")
		}
	}
}

// count counts the lines that hold word, from now on.
func (w *quietWatch) count(word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.word, w.n = []byte(word), 0
}

// soFar returns how many lines were counted.
func (w *quietWatch) soFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// counted waits until n lines were counted, and returns when the last was read.
func (w *quietWatch) counted(n int) time.Time {
	w.b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if w.soFar() >= n {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.last
		}
	}
	w.b.Fatalf("only %d of %d lines came", w.n, n)
	return time.Time{}
}

// waitFor waits for a line that holds all of these texts.
func (w *quietWatch) waitFor(texts ...string) time.Time {
	w.b.Helper()
	return w.wait(func(line []byte) bool {
		for _, text := range texts {
			if !bytes.Contains(line, []byte(text)) {
				return false
			}
		}
		return true
	})
}

// residentKB is the resident memory in KiB.
func (w *quietWatch) residentKB() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		w.b.Fatal(err)
	}
	return kb
}

// end kills the process.
func (w *quietWatch) end() {
	w.cmd.Process.Kill()
	w.cmd.Wait()
}
