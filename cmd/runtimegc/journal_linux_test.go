package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
)

// Only stderr can be the journal's, whatever a test, or a completion, writes to instead.
func TestForJournal(t *testing.T) {
	info, err := os.Stderr.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	if got, want := forJournal(os.Stderr, journal.PriErr, "a\nb\n"), "<3>a\n<3>b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := forJournal(&bytes.Buffer{}, journal.PriErr, "a\n"); got != "a\n" {
		t.Errorf("into something else: %q", got)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1))
	if got := forJournal(os.Stderr, journal.PriErr, "a\n"); got != "a\n" {
		t.Errorf("in another one's: %q", got)
	}
}
