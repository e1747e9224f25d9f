//go:build !linux

package watcher

import "time"

var started = time.Now()

// threadTime is the time that has passed, which is never less than the thread's share of it.
func threadTime() time.Duration { return time.Since(started) }
