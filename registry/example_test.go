package registry_test

import (
	"fmt"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// A follower learns the names that have changed, and looks up what they are now.
func ExampleRegistry_Follow() {
	reg := registry.New("/srv/runtime")
	changes := reg.Follow()
	w, err := reg.Write() // the watcher does
	if err != nil {
		fmt.Println(err)
		return
	}
	w.Put(daemondir.Entry{Name: "web", PID: daemondir.PID{N: 1, Known: true}}, time.Now())
	w.Put(daemondir.Entry{Name: "web", PID: daemondir.PID{N: 2, Known: true}}, time.Now())
	<-changes.Ready()
	for _, change := range changes.Take() {
		e, known := reg.Get(change.Name)
		fmt.Println(change.Name, known, e.PID.N)
	}
	// Output: web true 2
}
