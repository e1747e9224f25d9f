package daemondir

import (
	"sync"
	"time"
)

// answerTime is how long a file system that is mounted in the root may take to answer.
const answerTime = time.Second

// stuck has the keys of the calls that [Within] has given up and that have not returned.
var stuck = struct {
	mu   sync.Mutex // guards keys
	keys map[string]bool
}{keys: make(map[string]bool)}

// Within returns what f returns, or false if that takes longer than limit: a system call on
// a file system that does not answer (FUSE, NFS) may never return. Then f goes on in a
// goroutine of its own, and until it returns, Within returns false for the same key at once.
func Within[T any](limit time.Duration, key string, f func() T) (result T, ok bool) {
	stuck.mu.Lock()
	isStuck := stuck.keys[key]
	stuck.mu.Unlock()
	if isStuck {
		return result, false
	}
	done := make(chan T, 1)
	go func() {
		result := f()
		stuck.mu.Lock()
		defer stuck.mu.Unlock()
		delete(stuck.keys, key)
		done <- result
	}()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case result = <-done:
		return result, true
	case <-timeout.C:
	}
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	select {
	case result = <-done: // just now
		return result, true
	default:
		stuck.keys[key] = true
		return result, false
	}
}
