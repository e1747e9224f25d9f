package watcher_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"runtimegc/registry"
	"runtimegc/watcher"
)

// A program that wants to know the daemons, and to remove nothing, needs no more than
// a watcher. Here a daemon dir is made, and the program hears of it.
func ExampleWatcher_Run() {
	root, err := os.MkdirTemp("", "runtime")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	reg := registry.New(root)
	changes := reg.Follow()
	watch, err := watcher.New(watcher.Options{Registry: reg})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- watch.Run(ctx) }()

	<-changes.Synced() // the registry equals the root
	fmt.Println(reg.Len(), "daemons")
	if err := os.Mkdir(filepath.Join(root, "web"), 0o755); err != nil {
		fmt.Println(err)
		return
	}
	<-changes.Ready() // and goes on to
	for _, change := range changes.Take() {
		e, _ := reg.Get(change.Name)
		fmt.Println(change.Name, e.Problem)
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// 0 daemons
	// web not_a_daemon_dir
	// <nil>
}

// The root as it is now, without watching it.
func ExampleScan() {
	root, err := os.MkdirTemp("", "runtime")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	if err := os.Mkdir(filepath.Join(root, "web"), 0o755); err != nil {
		fmt.Println(err)
		return
	}
	reg := registry.New(root)
	if err := watcher.Scan(context.Background(), reg); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reg.Names())
	// Output: [web]
}
