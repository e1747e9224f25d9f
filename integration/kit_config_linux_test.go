package integration

// The configuration of a running watch, which it reads again at a SIGHUP.

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// daemonTOML is a daemon manager's configuration as it may be found.
type daemonTOML struct {
	t    *testing.T
	path string
}

func newDaemonTOML(t *testing.T) daemonTOML {
	return daemonTOML{t, filepath.Join(t.TempDir(), "daemon.toml")}
}

func (d daemonTOML) write(text string) {
	d.t.Helper()
	noError(d.t, os.WriteFile(d.path, []byte(text), 0o600))
}

// set writes our keys among others.
func (d daemonTOML) set(intervalSecs, staleAfterSecs int) {
	d.t.Helper()
	d.write(fmt.Sprintf("token = %q\nruntime_gc_interval_secs = %d\nruntime_gc_stale_after_secs = %d\n\n[dev]\nidle_timeout_secs = 120\n",
		secret, intervalSecs, staleAfterSecs))
}

// hangup sends a SIGHUP and waits for what the watch says of its configuration.
func (w *watchProcess) hangup(kind string) event {
	w.t.Helper()
	noError(w.t, w.cmd.Process.Signal(syscall.SIGHUP))
	return w.next(kind, "")
}
