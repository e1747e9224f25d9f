//go:build !portable

package proc

import "golang.org/x/sys/windows"

// awaitReaped does not wait: a process that has exited has its exit code at once.
func awaitReaped([]Handle) {}

// Ending returns how the process has ended, or nil if it has not, or that is not known. There
// are no signals: who is ended by another has the exit code that this one chose, and after an
// exception its number, such as 0xC0000005 (Microsoft, GetExitCodeProcess).
func (h Handle) Ending() *Ending {
	// It is asked for first: of a process that runs the code is 259 (STILL_ACTIVE), with which
	// another may have exited.
	if exited, _ := h.Exited(); !exited {
		return nil
	}
	var code uint32
	if windows.GetExitCodeProcess(windows.Handle(h), &code) != nil {
		return nil
	}
	return &Ending{Code: int(code)}
}
