package main

import (
	"fmt"
	"os"
	"sync"
)

// logMode lets the file's group read it, as system logs are read; the umask may say no.
const logMode = 0o640

// A logFile is appended to, and can be opened anew after a rotation has moved it away.
type logFile struct {
	path  string
	roots []string

	mu sync.Mutex // guards f
	f  *os.File
}

func openLogFile(path string, roots []string) (*logFile, error) {
	l := &logFile{path: path, roots: roots}
	return l, l.reopen()
}

// reopen opens the file and only then lets go of the one before: no line is lost.
func (l *logFile) reopen() error {
	// In a root each line would be an event, and the log part of a daemon's directory.
	if err := refuseInRoot("the log file", l.path, l.path, l.roots); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, logMode)
	if err != nil {
		return fmt.Errorf("opening log file: %w", err)
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return nil
}

// Write writes one line.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(line)
}
