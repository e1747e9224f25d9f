package prune

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// forever is the longest time.Duration, in whole seconds. DurationOfMS returns at least this
// for what does not fit.
const forever = math.MaxInt64 / time.Second * time.Second

// DurationOfMS returns a number of milliseconds as a Duration, or the longest Duration if it
// does not fit.
func DurationOfMS(ms float64) time.Duration {
	if ms >= float64(forever/time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// FormatDuration formats d, which must not be negative, for people. From one minute on, it
// writes up to parts consecutive units and cuts off the rest: with two parts, 5h12m3s is
// "5h 12m", and 5h0m3s is "5h". Below one minute it writes one unit with at most one
// decimal: "9.3s", "12.3ms", "850us".
func FormatDuration(d time.Duration, parts int) string {
	switch {
	case d >= forever:
		return "over 292y"
	case d < time.Millisecond:
		d = d.Round(100 * time.Nanosecond)
	case d < time.Second:
		d = d.Round(100 * time.Microsecond)
	case d < time.Minute:
		d = d.Round(100 * time.Millisecond)
	}
	if d < time.Minute {
		return strings.Replace(d.String(), "µ", "u", 1)
	}
	var words []string
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{
		{365 * 24 * time.Hour, "y"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"},
	} {
		n := int64(d / unit.length)
		d %= unit.length
		if n > 0 {
			words = append(words, strconv.FormatInt(n, 10)+unit.name)
		}
		if len(words) > 0 {
			if parts--; parts <= 0 {
				break
			}
		}
	}
	return strings.Join(words, " ")
}
