//go:build (linux || darwin || freebsd) && !portable

package proc

import (
	"sync"

	"golang.org/x/sys/unix"
)

// What is left for all else when handles are held, in descriptors.
const (
	// reservedShared is for what the roots have in common: the standard files, Go's poller, the
	// log and the textfile, systemd's socket, and some 20 connections of the metrics.
	reservedShared = 32

	// reservedPerRoot is for inotify, the waiter and the lock of a root, the readers of a scan
	// (3 for each processor), a removal with its survey (12), reads of the process table (4) and
	// the probe of a birth (3).
	reservedPerRoot = 32
)

// budget is how many handles may be held by this process, for all its roots together. The
// limit of open files is read anew each time: it can be changed from outside (prlimit(2)). What
// is beyond the budget is found by sweeps.
var budget handleBudget

type handleBudget struct {
	mu    sync.Mutex // guards all below
	roots int
	held  int
}

// size returns how many handles may be held now. The caller holds mu.
func (b *handleBudget) size() int {
	limit := 1024
	var rlimit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit) == nil {
		limit = int(min(rlimit.Cur, 1<<30)) // it may be unlimited
	}
	return (limit - reservedShared - b.roots*reservedPerRoot) / descriptorsPerDaemon
}

func (b *handleBudget) open(roots int) {
	b.mu.Lock()
	b.roots += roots
	b.mu.Unlock()
}

// take reports whether there is room for another handle, and counts it if so.
func (b *handleBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held >= b.size() {
		return false
	}
	b.held++
	return true
}

func (b *handleBudget) give() {
	b.mu.Lock()
	b.held--
	b.mu.Unlock()
}

func (b *handleBudget) hasRoom() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size()-b.held >= max(1, b.held/8)
}
