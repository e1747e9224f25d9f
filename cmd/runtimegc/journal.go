package main

// Under systemd, each line on stderr is a message of the journal. A number in front of it is
// its priority, which the journal takes off (sd-daemon(3)): "journalctl -p warning" shows
// the lines that matter. The lines are not sent by the journal's own protocol, because then
// they would be other lines than those that go anywhere else.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/rs/zerolog"
)

// isJournal reports whether w is stderr, and systemd has connected it to its journal. The
// variable JOURNAL_STREAM alone does not say so: it is inherited by programs whose stderr is
// something else.
func isJournal(w io.Writer) bool {
	if w != io.Writer(os.Stderr) {
		return false
	}
	ours, err := journal.StderrIsJournalStream()
	return err == nil && ours
}

// forJournal returns text, some whole lines, as w takes it: in a journal, each line has that
// priority.
func forJournal(w io.Writer, p journal.Priority, text string) string {
	if !isJournal(w) {
		return text
	}
	var marked strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&marked, "<%d>%s", p, line)
	}
	return marked.String()
}

// A journalWriter puts the priority of each line before it.
type journalWriter struct {
	out io.Writer

	mu   sync.Mutex // guards all below
	form io.Writer  // writes the line into text, in the format of the log
	text bytes.Buffer
}

// newJournalWriter returns a writer of JSON lines, in the format that form makes of them.
func newJournalWriter(out io.Writer, form func(io.Writer) io.Writer) *journalWriter {
	j := &journalWriter{out: out}
	j.form = form(&j.text)
	return j
}

func (j *journalWriter) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Reset()
	fmt.Fprintf(&j.text, "<%d>", priorityOf(line))
	if _, err := j.form.Write(line); err != nil {
		return 0, err
	}
	if _, err := j.out.Write(j.text.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// priorityOf returns the priority of a JSON line of the log.
func priorityOf(line []byte) journal.Priority {
	var said struct{ Level string }
	if err := json.Unmarshal(line, &said); err != nil {
		return journal.PriInfo // not a line of ours
	}
	switch said.Level {
	case zerolog.LevelDebugValue:
		return journal.PriDebug
	case zerolog.LevelWarnValue:
		return journal.PriWarning
	case zerolog.LevelErrorValue:
		return journal.PriErr
	}
	return journal.PriInfo
}
