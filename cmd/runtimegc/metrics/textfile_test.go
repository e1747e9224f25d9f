package metrics

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A file that node_exporter would not read is refused; a relative path is made absolute.
func TestTextfile(t *testing.T) {
	var f Textfile
	if err := f.Set("x.prom"); err != nil || !filepath.IsAbs(string(f)) || filepath.Base(string(f)) != "x.prom" {
		t.Errorf("%q, %v", f, err)
	}
	was := f
	if err := f.Set("x.txt"); err == nil || f != was {
		t.Errorf("%q, %v", f, err)
	}
	if err := f.Set(""); err != nil || f != "" {
		t.Errorf("%q, %v", f, err)
	}
}

// That the file cannot be written is logged once; it is tried again at every sweep, and
// logged once when it succeeds.
func TestTextfileTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "collector")
	file := filepath.Join(dir, "runtimegc.prom")
	m := testMetrics(t, Options{Textfile: Textfile(file)}, "/a")
	var log daemondirtest.Log
	stop := publish(t, m, &log)
	sweep := func() { m.swept <- struct{}{} } // there is one slot: of three, two were taken in
	for range 5 {
		sweep()
	}
	if n := len(log.Events("metrics.failed")); n != 1 {
		t.Errorf("logged %d times that there is no directory", n)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sweep()
	}
	daemondirtest.Eventually(t, "the file is there", func() bool { _, err := os.Stat(file); return err == nil })
	daemondirtest.Eventually(t, "a directory is in its place", func() bool { // another trouble
		return os.Remove(file) == nil && os.Mkdir(file, 0o755) == nil
	})
	for range 3 {
		sweep()
	}
	stop()
	if len(log.Events("metrics.failed")) != 2 || len(log.Events("metrics.restored")) != 1 {
		t.Errorf("the log has\n%s", log.String())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Who has opened the file reads all of what it was then, whatever is written meanwhile: half of
// a file is a scrape that fails, or counters that have fallen to nothing.
func TestTextfileIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	m := testMetrics(t, Options{Textfile: Textfile(file)}, "/a")
	grow := func(name string) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "runtimegc_" + name, Help: name}, func() float64 { return 1 }))
	}
	grow("zoom")
	if err := m.WriteTextfile(); err != nil {
		t.Fatal(err)
	}
	first := daemondirtest.ReadFile(t, file)
	dir, err := daemondir.OpenShared(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	reader, err := dir.Open(filepath.Base(file))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	half := make([]byte, len(first)/2)
	if _, err := io.ReadFull(reader, half); err != nil {
		t.Fatal(err)
	}
	grow("aardvark") // longer, and it sorts before the rest
	refused := m.WriteTextfile()
	rest, err := io.ReadAll(reader)
	if got := string(half) + string(rest); err != nil || got != first {
		t.Errorf("the reader has %q, %v", got, err)
	}
	if runtime.GOOS == "windows" && errors.Is(refused, fs.ErrPermission) {
		// It may replace no file that is open. The next sweep tries again.
		reader.Close()
		refused = m.WriteTextfile()
	}
	if refused != nil || daemondirtest.ReadFile(t, file) == first {
		t.Errorf("nothing was written: %v", refused)
	}
}

// A directory in the file's place is one trouble, whether os.Rename finds it or rename(2).
func TestCauseOfADirectory(t *testing.T) {
	found := cause(&os.LinkError{Op: "rename", Err: syscall.EEXIST})
	refused := cause(&os.LinkError{Op: "rename", Err: syscall.EISDIR})
	if found != refused || found == cause(&os.LinkError{Op: "rename", Err: syscall.EACCES}) {
		t.Errorf("%q, %q", found, refused)
	}
}

// The textfile and node_exporter's own metrics are read in one scrape, which fails if
// both have the same metric.
func TestTextfileHasOnlyOurs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	m := testMetrics(t, Options{Textfile: Textfile(file)}, "/a")
	if err := m.WriteTextfile(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if !strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "runtimegc_") {
			t.Errorf("not ours: %s", line)
		}
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("node_exporter, another user, may not read it: %v, %v", info.Mode(), err)
	}
}
