package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A reader of the log stands still until it goes on.
type reader struct {
	goesOn chan struct{} // closed: it reads
	log    daemondirtest.Log
	fails  func(line []byte) bool // nil: never
}

func (r *reader) Write(line []byte) (int, error) {
	<-r.goesOn
	if r.fails != nil && r.fails(line) {
		return 0, errors.New("no space")
	}
	return r.log.Write(line)
}

// numbered logs lines that are numbered from 0, in the name of one writer.
func numbered(log zerolog.Logger, writer, lines int) {
	for n := range lines {
		log.Info().Int("writer", writer).Int("n", n).Msg("x")
	}
}

// account returns how many lines were written and how many are said to be missing. It fails
// the test if a line is cut, or out of order.
func account(t *testing.T, text string) (written, missing int) {
	t.Helper()
	last := make(map[int]int)
	gap := false // since the last log.dropped nothing was written
	for line := range strings.Lines(text) {
		var l struct {
			Event, Level     string
			Writer, N, Lines int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if l.Event == "log.dropped" {
			if l.Lines == 0 || l.Level != "warn" || gap {
				t.Errorf("no gap here: %s", line)
			}
			missing += l.Lines
			gap = true
			continue
		}
		written++
		gap = false
		if before, ok := last[l.Writer]; ok && l.N <= before {
			t.Errorf("writer %d: line %d after %d", l.Writer, l.N, before)
		}
		last[l.Writer] = l.N
	}
	return written, missing
}

// While nobody reads, the queue takes what it has room for, and drops and counts the rest:
// not one line is unaccounted for, cut or out of order. Nobody who logs waits.
func TestLogQueueOfAReaderThatStandsStill(t *testing.T) {
	r := &reader{goesOn: make(chan struct{})}
	q := newLogQueue(r)
	log := newLogger(q, zerolog.InfoLevel)
	const writers, each = 4, 3000
	var logging sync.WaitGroup
	for w := range writers {
		logging.Go(func() { numbered(log, w, each) })
	}
	logging.Wait()
	if q.dropped.Load() == 0 {
		t.Fatal("nothing was dropped")
	}
	close(r.goesOn)
	for w := range writers { // while it reads
		logging.Go(func() { numbered(log, writers+w, each) })
	}
	logging.Wait()
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Fatal(err)
	}
	written, missing := account(t, r.log.String())
	if written+missing != 2*writers*each || missing != int(q.dropped.Load()) {
		t.Errorf("%d lines written and %d said to be missing, of %d; %d were counted", written, missing, 2*writers*each, q.dropped.Load())
	}
	if written < queueLines {
		t.Errorf("only %d lines written; the queue has room for %d", written, queueLines)
	}
	before, _, _ := strings.Cut(r.log.String(), "log.dropped")
	if n := strings.Count(before, "\n"); n < queueLines {
		t.Errorf("the first gap is said to be after %d lines", n)
	}
}

// Long lines fill the queue as well.
func TestLogQueueHasFewBytes(t *testing.T) {
	r := &reader{goesOn: make(chan struct{})}
	q := newLogQueue(r)
	line := append(bytes.Repeat([]byte("x"), 10_000), '\n')
	for range 1000 {
		fmt.Fprintf(q, "%s", line)
	}
	if held := 1000 - int(q.dropped.Load()); held < queueBytes/len(line) || held > 2*queueBytes/len(line) {
		t.Errorf("it holds %d lines of %d bytes", held, len(line))
	}
	before := q.dropped.Load()
	if q.Write([]byte("fits\n")); q.dropped.Load() != before+1 {
		t.Error("a line after the gap was put before it")
	}
	close(r.goesOn)
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Error(err)
	}

	q = newLogQueue(&r.log)
	q.Write(bytes.Repeat(line, 200)) // too long for an empty queue
	daemondirtest.Eventually(t, "that is said", func() bool { return strings.Contains(r.log.String(), `"lines":1,`) })
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Error(err)
	}
}

// Lines that cannot be written, as on a full disk, are missing as well, and said to be when
// lines can be written again.
func TestLogQueueOfAFullDisk(t *testing.T) {
	r := &reader{goesOn: make(chan struct{})}
	close(r.goesOn)
	tried := 0
	r.fails = func([]byte) bool { tried++; return 10 < tried && tried <= 20 }
	q := newLogQueue(r)
	numbered(newLogger(q, zerolog.ErrorLevel), 0, 5) // nothing
	numbered(newLogger(q, zerolog.InfoLevel), 0, 100)
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Fatal(err)
	}
	if written, missing := account(t, r.log.String()); written+missing != 100 || missing != int(q.dropped.Load()) || missing == 0 {
		t.Errorf("%d lines written, %d said to be missing, %d counted; of 100", written, missing, q.dropped.Load())
	}
}

// The line that says so is in the format of the others.
func TestLogDroppedOnTheConsole(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	r := &reader{goesOn: make(chan struct{})}
	q := newLogQueue(newConsole(r, false, false, 1))
	numbered(newLogger(q, zerolog.InfoLevel), 0, 2*queueLines+10)
	close(r.goesOn)
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\S+ WRN lines are missing here: .* lines=[1-9]\d*$`).MatchString(r.log.String()) {
		t.Error("it does not say that lines are missing")
	}
}

// The end waits for a reader, but not forever.
func TestLogQueueIsClosed(t *testing.T) {
	r := &reader{goesOn: make(chan struct{})}
	q := newLogQueue(r)
	numbered(newLogger(q, zerolog.InfoLevel), 0, 3)
	if err := q.close(time.Millisecond); err == nil {
		t.Error("nobody reads, and no error")
	}
	numbered(newLogger(q, zerolog.InfoLevel), 1, 2*queueLines) // too late, but no trouble
	close(r.goesOn)
	<-q.ended
}

// A line costs no allocation, neither in who logs it nor in the queue.
func TestLogQueueAllocatesNothing(t *testing.T) {
	q := newLogQueue(io.Discard)
	line := []byte(strings.Repeat("x", 200) + "\n")
	if n := testing.AllocsPerRun(1000, func() { q.Write(line) }); n > 0 {
		t.Errorf("%v allocations for a line", n)
	}
	if err := q.close(daemondirtest.Patience); err != nil {
		t.Error(err)
	}
}

func BenchmarkLogQueue(b *testing.B) {
	q := newLogQueue(io.Discard)
	line := []byte(strings.Repeat("x", 200) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		q.Write(line)
	}
}
