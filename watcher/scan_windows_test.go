package watcher

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A sidecar that another process has open and does not share holds a single pass up for a
// moment, and no longer. It is not taken for an invalid one.
func TestScanDoesNotWaitForWhatIsNotShared(t *testing.T) {
	root := t.TempDir()
	daemondirtest.MakeDead(t, root, "a", time.Hour)
	held := daemondirtest.MakeDead(t, root, "b", time.Hour)
	h, err := windows.CreateFile(windows.StringToUTF16Ptr(held.Sidecar()), windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	reg := registry.New(root)
	if err := Scan(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	if names := reg.Names(); len(names) != 1 || names[0] != "a" {
		t.Errorf("read: %q, want a", names)
	}
	if err := ScanDir(t.Context(), reg, "b"); !errors.Is(err, daemondir.ErrBusy) {
		t.Errorf("scanning it alone: %v", err)
	}
}
