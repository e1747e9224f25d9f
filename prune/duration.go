package prune

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// forever is what a Duration cannot hold: DurationOfMS returns at least that much for it.
const forever = math.MaxInt64 / time.Second * time.Second

// DurationOfMS returns a number of milliseconds as a Duration; one that does not fit
// becomes the longest there is.
func DurationOfMS(ms float64) time.Duration {
	if ms >= float64(forever/time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// FormatDuration writes d, which must not be negative, for people. From a minute on it
// has at most parts units, each the next smaller one, and cuts off what lies below them:
// with two, 5h12m3s is "5h 12m", and 5h0m3s is "5h". A shorter one has a single unit and
// at most one decimal: "9.3s", "12.3ms", "850us".
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
