//go:build !portable

package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// wallOffset returns how far the wall clock is ahead of the time since boot, suspends
// included (clock_gettime(2), CLOCK_BOOTTIME). It changes when the wall clock is set,
// and only then by more than NTP's slewing.
func wallOffset() (time.Duration, bool) {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0, false
	}
	return time.Duration(time.Now().UnixNano() - boot.Nano()), true
}
