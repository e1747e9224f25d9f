package registry_test

import (
	"fmt"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// A consumer learns the names that have changed, and looks up what they are now.
func ExampleRegistry_Changes() {
	reg := registry.New()
	reg.Put(daemondir.Entry{Name: "web", PID: daemondir.PID{N: 1, Known: true}})
	reg.Put(daemondir.Entry{Name: "web", PID: daemondir.PID{N: 2, Known: true}})
	<-reg.Changes().Ready()
	for _, name := range reg.Changes().Take() {
		e, known := reg.Get(name)
		fmt.Println(name, known, e.PID.N)
	}
	// Output: web true 2
}
