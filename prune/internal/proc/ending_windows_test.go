//go:build !portable

package proc

import "testing"

// tellsEndings skips nothing: Windows tells how every process ends.
func tellsEndings(*testing.T) {}

// Who is ended by another has the code that this one chose; of no process there is none.
func TestEndingOfTheKilled(t *testing.T) {
	cmd, h := startSleeper(t)
	kill(cmd)
	if got := h.Ending(); got == nil || got.Code != cmd.ProcessState.ExitCode() || got.Signal != "" {
		t.Errorf("%+v, want exit code %d", got, cmd.ProcessState.ExitCode())
	}
	if got := NoHandle.Ending(); got != nil {
		t.Errorf("%+v of no process", got)
	}
}
