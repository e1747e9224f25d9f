package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// holdOpen opens a file or directory as a program does that does not share deletion.
func holdOpen(t *testing.T, path string) (release func()) {
	t.Helper()
	h, err := windows.CreateFile(windows.StringToUTF16Ptr(path), windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func() { windows.CloseHandle(h) }
}

func TestOpenElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	release := holdOpen(t, path)
	if open, err := OpenElsewhere(path); !open || err != nil {
		t.Errorf("open: %v, %v", open, err)
	}
	release()
	if open, err := OpenElsewhere(path); open || err != nil {
		t.Errorf("closed: %v, %v", open, err)
	}
	if open, err := OpenElsewhere(path + "-missing"); open || err != nil {
		t.Errorf("missing: %v, %v", open, err)
	}
}

// A dir that is in use is busy, not a failure; nothing is replaced, not even an empty dir.
func TestRenameRefused(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"a", "taken"} {
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	release := holdOpen(t, filepath.Join(path, "a"))
	if err := root.Rename("a", "b"); !Busy(err) {
		t.Errorf("in use: %v", err)
	}
	release()
	if err := root.Rename("a", "taken"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto another: %v", err)
	}
	if err := root.Rename("missing", "b"); !Gone(err) {
		t.Errorf("missing: %v", err)
	}
	if err := root.Rename("a", "b"); err != nil {
		t.Error(err)
	}
}
