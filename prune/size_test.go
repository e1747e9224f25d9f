package prune

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry"
)

// Only what is asked for is measured, and what is gone has no size: 0 bytes would be one.
func TestMeasure(t *testing.T) {
	root := t.TempDir()
	for name, size := range map[string]int{"a": 10, "b": 20, "empty": 0} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(Options{Registry: registry.New(root)})
	if err != nil {
		t.Fatal(err)
	}
	measured := func(ctx context.Context) map[string]int64 {
		rows := []Row{{Name: "a"}, {Name: "b"}, {Name: "empty"}, {Name: "gone"}}
		if err := c.Measure(ctx, rows, func(r Row) bool { return r.Name != "b" }); err != nil {
			t.Fatal(err)
		}
		sizes := make(map[string]int64)
		for _, r := range rows {
			if r.Bytes != nil {
				sizes[r.Name] = *r.Bytes
			}
		}
		return sizes
	}
	got := measured(t.Context())
	if empty, ok := got["empty"]; len(got) != 2 || got["a"] != 10 || !ok || empty != 0 {
		t.Errorf("%v", got)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if got := measured(ended); len(got) != 0 {
		t.Errorf("after its end: %v", got)
	}
}
