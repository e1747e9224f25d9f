package proc

import (
	"runtime"
	"sync"
	"time"
)

// An Exit is the end of a process, and when it was announced.
type Exit struct {
	Name string // as it was given to [Exits.Add]
	At   time.Time
}

// Exits announces at once which of the processes it was given has exited. What notices that
// is the system's waiter, in exits_<system>.go.
type Exits struct {
	waiter *waiter
	c      chan Exit
	done   chan struct{}

	mu    sync.Mutex // guards names
	names map[Handle]string
}

// NewExits returns an Exits that watches nothing yet. The error is [errors.ErrUnsupported] if the
// system has no handles, or says why there is none now.
func NewExits() (*Exits, error) {
	w, err := newWaiter()
	if err != nil {
		return nil, err
	}
	return &Exits{
		waiter: w,
		c:      make(chan Exit),
		done:   make(chan struct{}),
		names:  make(map[Handle]string),
	}, nil
}

// Add has the exit of the process behind h announced under name, once, even if it has exited
// already. It reports false if there is no room for h: the caller closes h, and must look itself.
func (x *Exits) Add(h Handle, name string) bool {
	x.mu.Lock()
	x.names[h] = name
	x.mu.Unlock()
	if x.waiter.add(h) {
		return true
	}
	x.mu.Lock()
	delete(x.names, h)
	x.mu.Unlock()
	return false
}

// Remove forgets h, which may be closed after this and not before.
func (x *Exits) Remove(h Handle) {
	x.mu.Lock()
	_, held := x.names[h]
	delete(x.names, h)
	x.mu.Unlock()
	if held {
		x.waiter.remove(h)
	}
}

// HasRoom reports whether there is room for an eighth more of what this process holds, and not
// only for what was given back just now.
func (x *Exits) HasRoom() bool { return x.waiter.hasRoom() }

// Announced yields each exit as it happens; none if x is nil.
func (x *Exits) Announced() <-chan Exit {
	if x == nil {
		return nil
	}
	return x.c
}

// Run announces exits until [Exits.Close].
func (x *Exits) Run() {
	for {
		exited, ok := x.waiter.wait()
		if !ok {
			return
		}
		at := time.Now()
		awaitReaped(exited)
		for _, h := range exited {
			x.mu.Lock()
			name, ok := x.names[h]
			x.mu.Unlock()
			if !ok {
				continue
			}
			select {
			case x.c <- Exit{name, at}:
			case <-x.done:
				return
			}
		}
	}
}

// Close ends Run. The handles remain, and with them their part of the budget, until Remove.
func (x *Exits) Close() {
	close(x.done)
	x.waiter.close()
}

// WhyUnannounced says, as a reason for the log and in words, what it is that keeps the exit of
// a live process from being announced where exits are.
func WhyUnannounced() (reason, text string) {
	if runtime.GOOS == "windows" {
		return "permission", "no permission to wait for the processes of other users"
	}
	return "open_files", "out of descriptors, raise the limit of open files"
}
