package proc

import (
	"testing"
	"time"
)

// The wall clock was set if it has moved by more than two seconds against the time since boot.
func TestClockStepped(t *testing.T) {
	ahead, known := time.Hour, true
	c := NewClockOf(func() (time.Duration, bool) { return ahead, known })
	for by, want := range map[time.Duration]bool{
		0: false, stepTolerance: false, -stepTolerance: false, stepTolerance + 1: true, -stepTolerance - 1: true, 9 * time.Hour: true,
	} {
		if ahead = time.Hour + by; c.Stepped() != want {
			t.Errorf("by %v: %v, want %v", by, c.Stepped(), want)
		}
	}
	if ahead, known = 9*time.Hour, false; c.Stepped() {
		t.Error("it was set, though it is not known where it stands")
	}
}
