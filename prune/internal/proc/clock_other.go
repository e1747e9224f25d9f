//go:build !linux || portable

package proc

import "time"

// wallOffset is not known here: a clock step is not seen.
func wallOffset() (time.Duration, bool) { return 0, false }
