package prune

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// The lock is held by one collector, whoever asks; a sweep and a run take it themselves.
func TestLockIsExclusive(t *testing.T) {
	root := t.TempDir()
	release, err := testCollector(t, root).Lock()
	if err != nil {
		t.Fatal(err)
	}
	other := testCollector(t, root)
	_, err = other.Lock()
	holder := "pid " + strconv.Itoa(os.Getpid())
	if portable {
		holder = "a process that is not visible from here"
	}
	if err == nil || !strings.Contains(err.Error(), holder) {
		t.Errorf("the second lock: %v; want to be told who holds it", err)
	}
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	w, _ := other.reg.Write()
	w.Put(entryOf(t, d), time.Time{})
	if _, err := other.Sweep(t.Context(), nil); err == nil || !d.Exists() {
		t.Errorf("a sweep beside another collector: %v; the dir is there: %v", err, d.Exists())
	}
	var roles []Role
	other.onRole = func(r Role) { roles = append(roles, r) }
	if err := other.Run(t.Context(), watcherByHand{other.reg}); err == nil || len(roles) > 0 {
		t.Errorf("it runs beside another collector: %v, as %q", err, roles)
	}
	release()
	release() // once more is nothing
	result, err := other.Sweep(t.Context(), nil)
	if err != nil || result.Removed != 1 || d.Exists() {
		t.Errorf("%+v, %v", result, err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := other.Run(done, watcherByHand{other.reg}); err != nil || !slices.Equal(roles, []Role{RoleCollector}) {
		t.Errorf("a run: %v, as %q", err, roles)
	}
	again, err := testCollector(t, root).Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := testCollector(t, filepath.Join(root, "no")).Lock(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("a lock leaves %v behind", left)
	}
}

// A dry run takes no lock, however it is made: it looks on beside a collector, and keeps none
// from its work.
func TestDryRunTakesNoLock(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	free := func(beside string) {
		t.Helper()
		release, err := testCollector(t, root).Lock()
		if err != nil {
			t.Errorf("beside %s: %v", beside, err)
			return
		}
		release()
	}
	roles := make(chan Role, 1)
	dry := newBenchIn(t, root, Options{DryRun: true, SweepInterval: time.Hour, OnRole: func(r Role) { roles <- r }})
	dry.scan()

	release, err := dry.Lock()
	if err != nil {
		t.Fatal(err)
	}
	free("the lock of a dry run")
	release()
	if _, err := dry.Sweep(t.Context(), func(Row) { free("a dry sweep") }); err != nil {
		t.Error(err)
	}
	run := func(meanwhile func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- dry.Run(ctx, watcherByHand{dry.reg}) }()
		select {
		case role := <-roles:
			if role != "" {
				t.Errorf("a dry run has the role %q", role)
			}
			meanwhile()
			cancel()
			err = <-ran
		case err = <-ran:
			cancel()
		}
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	run(func() { free("a dry run") })

	// And the other way round.
	if release, err = testCollector(t, root).Lock(); err != nil {
		t.Fatal(err)
	}
	defer release()
	run(func() {})
	if result, err := dry.Sweep(t.Context(), nil); err != nil || result.Removed != 1 || !d.Exists() {
		t.Errorf("beside a collector: %+v, %v; there: %v", result, err, d.Exists())
	}
	if done, err := dry.Lock(); err != nil {
		t.Errorf("beside a collector: %v", err)
	} else {
		done()
	}
}
