package prune

import (
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry"
)

// What is gone has no size: 0 bytes would be one.
func TestMeasure(t *testing.T) {
	root := t.TempDir()
	for name, size := range map[string]int{"a": 10, "empty": 0} {
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
	p := c.NewPlanner()
	defer p.Close()
	got := make(map[string]int64)
	for _, name := range []string{"a", "empty", "gone"} {
		row := Row{Name: name}
		if err := p.Measure(&row); err != nil {
			t.Fatal(err)
		}
		if row.Bytes != nil {
			got[name] = *row.Bytes
		}
	}
	if empty, ok := got["empty"]; len(got) != 2 || got["a"] != 10 || !ok || empty != 0 {
		t.Errorf("%v", got)
	}
}
