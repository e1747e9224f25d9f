package main

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// queueLines and queueBytes are how much may wait while the lines before it are written: a
	// line has some 250 bytes, so both are reached at about the same time.
	queueLines = 4096
	queueBytes = 1 << 20

	// keptBytes is how large a buffer is kept for reuse after a burst.
	keptBytes = 64 << 10

	// drainTimeout is how long the end of a watch waits for the reader of its log.
	drainTimeout = 2 * time.Second
)

// A logQueue is between a logger and where its lines go, so that a reader who stands still
// stops nothing else. When it is full, lines are dropped and counted, until all that was
// waiting begins to be written; the first line after the gap is log.dropped, which says how
// many are missing. A line that cannot be written is one of them.
type logQueue struct {
	out     io.Writer // takes one line at a time; only the queue's goroutine uses it
	more    chan struct{}
	closing chan struct{}
	ended   chan struct{}
	missing int           // lines that no log.dropped has reported; of the queue's goroutine
	dropped atomic.Uint64 // lines, ever

	mu      sync.Mutex // guards waiting
	waiting batch
}

// A batch is lines in their order, and how many were dropped after them.
type batch struct {
	text    []byte // each line ends with a newline, and has no other
	lines   int
	dropped int
}

func newLogQueue(out io.Writer) *logQueue {
	q := &logQueue{out: out, more: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write queues or drops one line. It never waits for the reader, and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &q.waiting
	// After the first that is dropped all are, until the next batch: one gap, not many.
	if w.dropped > 0 || w.lines == queueLines || len(w.text)+len(line) > queueBytes {
		w.dropped++
		q.dropped.Add(1)
	} else {
		w.text = append(w.text, line...)
		w.lines++
	}
	if w.lines+w.dropped == 1 { // else the goroutine knows
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

// run writes what is queued, until the queue is closed.
func (q *logQueue) run() {
	defer close(q.ended)
	var spare []byte
	for open := true; open; {
		select {
		case <-q.more:
		case <-q.closing:
			open = false
		}
		q.mu.Lock()
		now := q.waiting
		q.waiting = batch{text: spare}
		q.mu.Unlock()
		q.write(now)
		if spare = nil; cap(now.text) <= keptBytes {
			spare = now.text[:0]
		}
	}
}

func (q *logQueue) write(b batch) {
	for line := range bytes.Lines(b.text) {
		written := q.report()
		if written {
			_, err := q.out.Write(line)
			written = err == nil
		}
		if !written {
			q.missing++
			q.dropped.Add(1)
		}
	}
	q.missing += b.dropped
	q.report()
}

// report logs, at every level of the log, how many lines are missing, if any are. It returns
// false if that cannot be written.
func (q *logQueue) report() bool {
	if q.missing == 0 {
		return true
	}
	var line bytes.Buffer
	log := newLogger(&line, zerolog.WarnLevel)
	log.Warn().Str("event", "log.dropped").Int("lines", q.missing).
		Msg("lines are missing here: they were not read in time, or could not be written")
	if _, err := q.out.Write(line.Bytes()); err != nil {
		return false
	}
	q.missing = 0
	return true
}

// close writes what is queued. It is an error if that takes longer than timeout. What is
// logged after it is lost.
func (q *logQueue) close(timeout time.Duration) error {
	close(q.closing)
	select {
	case <-q.ended:
		return nil
	case <-time.After(timeout):
		return errors.New("the last lines of the log were not written, because nobody reads them")
	}
}
