package integration

import (
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"runtimegc/registry/daemondir/daemondirtest"
)

func init() { scriptCommands["spawn"] = scriptSpawn }

func scriptSpawn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: spawn DIR")
	}
	root, name := filepath.Split(ts.MkAbs(args[0]))
	ts.Check(os.MkdirAll(root, 0o755))
	_, err := newSpawner(stateOf(ts).t, root).try(name, daemondirtest.Sidecar(time.Now(), time.Now()))
	ts.Check(err)
}
