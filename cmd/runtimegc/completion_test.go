package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// What is typed of a name may fit 100,000 of them. They are sorted, each is there once, and they
// are not written one by one.
func TestCompletionOfManyNames(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	mkdir := func(root, name string) {
		if err := (daemondirtest.Dir{Root: root, Name: name}).Mkdir(); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range 3000 { // more than are listed at a time
		name := fmt.Sprintf("web-%04d", i)
		want = append(want, name)
		mkdir(root, name)
	}
	mkdir(other, want[7])
	mkdir(other, "db")
	var out bytes.Buffer
	var counted countedWrites
	args := []string{"__complete", "list", "--root", root, "--root", other, "web"}
	if code := run(t.Context(), args, io.MultiWriter(&out, &counted), io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	names, directive, _ := strings.Cut(out.String(), "\n:")
	if got := strings.Split(names, "\n"); !slices.Equal(got, want) {
		t.Errorf("%d names, want %d: %.100q", len(got), len(want), names)
	}
	if directive != "4\n" {
		t.Errorf("it ends with %q", directive)
	}
	if counted.writes > 1 {
		t.Errorf("%d bytes in %d writes", counted.bytes, counted.writes)
	}
}
