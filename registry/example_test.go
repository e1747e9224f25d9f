package registry_test

import (
	"fmt"
	"os"
	"path/filepath"

	"runtimegc/registry"
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
	for file, text := range map[string]string{registry.SidecarName("web"): sidecar, registry.PIDFileName: "4012"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			fmt.Println(err)
			return
		}
	}
	e, err := registry.Read(root, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Name, e.Problem == registry.ProblemNone, e.PID.N, e.SpawnedAt.MS, e.LastSeen.MS)
	// Output: web true 4012 1700000000000 1700000000000
}

// A consumer learns the names that have changed, and looks up what they are now.
func ExampleRegistry_Changes() {
	reg := registry.New()
	reg.Put(registry.Entry{Name: "web", PID: registry.PID{N: 1, Known: true}})
	reg.Put(registry.Entry{Name: "web", PID: registry.PID{N: 2, Known: true}})
	<-reg.Changes().Ready()
	for _, name := range reg.Changes().Take() {
		e, known := reg.Get(name)
		fmt.Println(name, known, e.PID.N)
	}
	// Output: web true 2
}

// The name of a daemon is any bytes, until it is printed.
func ExamplePrintable() {
	fmt.Println(registry.Printable("evil\x1b[2J\nname"))
	// Output: evil\x1b[2J\nname
}
