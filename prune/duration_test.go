package prune

import (
	"math"
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		rule  string
		d     time.Duration
		parts int
		want  string
	}{
		{"nothing", 0, 2, "0s"},
		{"microseconds, in ASCII", 850 * time.Microsecond, 2, "850us"},
		{"one decimal", 12_345_678, 2, "12.3ms"},
		{"one decimal of a second", 9_349 * time.Millisecond, 2, "9.3s"},
		{"whole seconds", 59 * time.Second, 1, "59s"},
		{"rounding up to the next unit", 999_960 * time.Microsecond, 1, "1s"},
		{"rounding up to a minute", 59_970 * time.Millisecond, 1, "1m"},
		{"one part", 3*time.Hour + 12*time.Minute, 1, "3h"},
		{"two parts", 5*time.Hour + 12*time.Minute + 59*time.Second, 2, "5h 12m"},
		{"three parts", time.Hour + time.Minute + 41*time.Second, 3, "1h 1m 41s"},
		{"a part that is zero", 6 * time.Hour, 3, "6h"},
		{"no unit is skipped", 5*time.Hour + 3*time.Second, 2, "5h"},
		{"below a part that is zero", 5*time.Hour + 3*time.Second, 3, "5h 3s"},
		{"days", day + time.Hour, 2, "1d 1h"},
		{"years", 400 * day, 2, "1y 35d"},
		{"the longest", math.MaxInt64, 2, "over 292y"},
	} {
		if got := FormatDuration(row.d, row.parts); got != row.want {
			t.Errorf("%s: %v in %d parts is %q, want %q", row.rule, row.d, row.parts, got, row.want)
		}
	}
}

func TestDurationOfMS(t *testing.T) {
	for _, row := range []struct {
		ms   float64
		want time.Duration
	}{
		{0, 0}, {0.25, 250 * time.Microsecond}, {5000, 5 * time.Second}, {1 << 53, math.MaxInt64},
		{math.MaxUint64, math.MaxInt64}, {math.Inf(1), math.MaxInt64},
	} {
		if got := DurationOfMS(row.ms); got != row.want {
			t.Errorf("%v ms are %v, want %v", row.ms, got, row.want)
		}
	}
}
