package integration

import (
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"runtimegc/registry/daemondir/daemondirtest"
)

func init() { scriptCommands["spawn"] = scriptCommand{1, 1, scriptSpawn} }

func scriptSpawn(ts *testscript.TestScript, args []string) {
	root, name := filepath.Split(ts.MkAbs(args[0]))
	ts.Check(os.MkdirAll(root, 0o755))
	_, err := newSpawner(stateOf(ts).t, root).try(name, daemondirtest.Sidecar(time.Now(), time.Now()))
	ts.Check(err)
}
