package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// answerTime is how long a file system may take to answer on which nothing else should wait.
const answerTime = time.Second

// ErrNoAnswer says that a file system (FUSE, NFS) does not answer, or not soon enough.
var ErrNoAnswer = errors.New("its file system does not answer")

// Stat is [os.Stat], or [ErrNoAnswer] after a second.
func Stat(path string) (fs.FileInfo, error) {
	type result struct {
		info fs.FileInfo
		err  error
	}
	r, ok := Within(answerTime, "stat "+path, func() result {
		info, err := os.Stat(path)
		return result{info, err}
	})
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: ErrNoAnswer}
	}
	return r.info, r.err
}

// stuck has the keys of the calls that [Within] has given up and that have not returned.
var stuck = struct {
	mu   sync.Mutex // guards keys
	keys map[string]bool
}{keys: make(map[string]bool)}

// Within returns what f returns, or false if that takes longer than limit: a system call on
// a file system that does not answer (FUSE, NFS) may never return. Then f goes on in a
// goroutine of its own, and until it returns, Within returns false for the same key at once.
// The time for which this process is stopped (SIGSTOP, a debugger) does not count.
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
	for late := true; late; {
		began := time.Now()
		select {
		case result = <-done:
			return result, true
		case <-timeout.C:
			late = time.Since(began) > limit+limit/2 // f was stopped as well: once more
			timeout.Reset(limit)
		}
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
