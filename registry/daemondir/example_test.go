package daemondir_test

import (
	"fmt"
	"os"
	"path/filepath"

	"runtimegc/registry/daemondir"
)

// One daemon dir is read. Of its sidecar only the two timestamps come out.
func ExampleRead() {
	root, err := os.MkdirTemp("", "runtime")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	dir := filepath.Join(root, "web")
	sidecar := `{"command": "serve", "env": {"TOKEN": "secret"}, "spawned_at_unix_ms": 1700000000000}`
	if err := os.Mkdir(dir, 0o755); err != nil {
		fmt.Println(err)
		return
	}
	for file, text := range map[string]string{daemondir.SidecarName("web"): sidecar, daemondir.PIDFileName: "4012"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			fmt.Println(err)
			return
		}
	}
	e, err := daemondir.Read(root, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Name, e.Problem == daemondir.ProblemNone, e.PID.N, e.SpawnedAt.MS, e.LastSeen.MS)
	// Output: web true 4012 1700000000000 1700000000000
}

// The name of a daemon is any bytes, until it is printed.
func ExamplePrintable() {
	fmt.Println(daemondir.Printable("evil\x1b[2J\nname"))
	// Output: evil\x1b[2J\nname
}
