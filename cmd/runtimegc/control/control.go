// Package control is how list and prune talk to a running watch: HTTP over a socket of the
// UNIX domain that belongs to one runtime root.
//
// The place of the socket follows from the identity of the root (device and inode), so that
// whoever has the root finds its watch, by whatever path. On Linux it is an abstract socket
// (unix(7)): no file, no rights to set up, and the kernel ends it with the watch. It is per
// network namespace. Elsewhere it is a file in a directory of the user's own in the directory
// for temporary files; one that is left of a watch refuses connections, and is replaced.
//
// Both sides trust only root, the user that they run as, and the owner of the root
// (SO_PEERCRED). These may remove the directories of the root in any case. Others are refused
// before they are read from, and whoever else takes the place first, is passed over.
//
// Of sidecars only what list shows is sent.
//
//	control.go  what is sent
//	server.go   the side of the watch; client.go: that of list and prune
//	place_*.go  where the socket is, and who is at its other end
package control

import (
	"errors"
	"path/filepath"
	"time"

	"runtimegc/prune"
)

// slots is how many watches of a root can be asked: one that has the lock, dry runs, and one
// more for whoever takes a place that is not his.
const slots = 4

// Why a place cannot be asked.
var (
	errNobody    = errors.New("nobody listens")
	errUntrusted = errors.New("it belongs to another user, who is not the owner of the runtime root")
)

// A Status is what a watch goes by in a root.
type Status struct {
	Version string     `json:"version"`
	Since   time.Time  `json:"since"`
	Role    prune.Role `json:"role"` // empty: it is a dry run

	Times        prune.Settings `json:"times"`
	InvalidAfter time.Duration  `json:"invalid_after"` // 0: off
	Protect      []string       `json:"protect"`       // patterns

	SharedRoot        bool   `json:"shared_root"`
	SharedRootBecause string `json:"shared_root_because"`

	LastSweep time.Time `json:"last_sweep"` // when it ended; zero: none yet
}

// An ending follows the Status in the answer, one for each daemon of which it is known how it has
// ended. There may be 100,000 of them: as one value they would take 40 MiB in the watch.
type ending struct {
	Name   []byte       `json:"name"` // see sweepRequest
	Ending prune.Ending `json:"ending"`
}

// sweepRequest is a [prune.Request]. A name may be any bytes, and those of JSON text are UTF-8.
type sweepRequest struct {
	Names      [][]byte      `json:"names"`
	StaleAfter time.Duration `json:"stale_after"`
}

// sweepResult is a [prune.Result].
type sweepResult struct {
	Stats prune.Stats `json:"stats"`
	Rows  []sweepRow  `json:"rows"`
}

type sweepRow struct {
	Name        []byte    `json:"name"`
	Row         prune.Row `json:"row"`
	ProtectedBy string    `json:"protected_by"`
	Error       string    `json:"error"`
}

func newSweepResult(r prune.Result) sweepResult {
	sent := sweepResult{Stats: r.Stats}
	for _, row := range r.Rows {
		one := sweepRow{Name: []byte(row.Name), Row: row, ProtectedBy: row.ProtectedBy}
		if row.Err != nil {
			one.Error = row.Err.Error()
		}
		sent.Rows = append(sent.Rows, one)
	}
	return sent
}

// result returns what was sent. The dirs have the path by which root is known here.
func (r sweepResult) result(root string) prune.Result {
	got := prune.Result{Stats: r.Stats}
	for _, one := range r.Rows {
		row := one.Row
		row.Name, row.ProtectedBy = string(one.Name), one.ProtectedBy
		row.Dir = filepath.Join(root, row.Name)
		if one.Error != "" {
			row.Err = errors.New(one.Error)
		}
		got.Rows = append(got.Rows, row)
	}
	return got
}
