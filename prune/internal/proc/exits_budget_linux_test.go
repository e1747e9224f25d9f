//go:build !portable

package proc

import (
	"testing"

	"golang.org/x/sys/unix"
)

// All roots of a process have one budget, by the limit of open files as it is now.
func TestExitsLeaveRoom(t *testing.T) {
	x, err := NewExits()
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := NewExits() // of another root, from the same budget
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	// The handles of tests that ran before may be held still.
	budget.mu.Lock()
	held, roots := budget.held, budget.roots
	budget.mu.Unlock()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(reservedShared + roots*reservedPerRoot + (held+2)*descriptorsPerDaemon), Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	q, cmd := start(t, "a")
	var handles []Handle
	add := func(to *Exits, want bool) {
		t.Helper()
		_, h := inspect(uint32(cmd.Process.Pid), q)
		t.Cleanup(h.Close)
		handles = append(handles, h)
		if got := to.Add(h, "a"); got != want {
			t.Errorf("handle %d is taken: %v, want %v", len(handles), got, want)
		}
	}
	add(x, true)
	if !x.HasRoom() {
		t.Error("there is no room for a second one")
	}
	add(y, true)
	add(y, false)
	if x.HasRoom() {
		t.Error("there is room for a third one")
	}
	x.Remove(handles[0])
	x.Remove(handles[0]) // counts once
	add(y, true)
	add(y, false)
	y.Remove(handles[1])
	y.Remove(handles[3])
}

// There is room again only for an eighth more of what is held: daemons that come and go at the
// limit must not make it come and go, too.
func TestRoomIsForAnEighthMore(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	b := handleBudget{held: 80}
	for more, want := range map[int]bool{9: false, 10: true} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(reservedShared + (b.held+more)*descriptorsPerDaemon), Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		if got := b.hasRoom(); got != want {
			t.Errorf("of %d, %d more fit: room %v, want %v", b.held, more, got, want)
		}
	}
}
