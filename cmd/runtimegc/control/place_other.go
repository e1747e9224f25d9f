//go:build !linux || portable

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"runtimegc/registry/daemondir"
)

// A place is where the sockets of a root are: files in a directory that only this user can
// enter. So whoever is at the other end is this user, or root.
type place struct{ dir, name string }

func newPlace(_ string, id daemondir.FileID) (place, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("runtimegc-%d", os.Geteuid()))
	p := place{dir, fmt.Sprintf("%x-%x-", id.Dev, id.Ino)}
	if err := p.check(); !errors.Is(err, fs.ErrNotExist) { // else nobody has listened there yet
		return p, err
	}
	return p, nil
}

// check returns an error if the directory is not this user's alone.
func (p place) check() error {
	info, err := os.Lstat(p.dir)
	if err == nil && (!info.IsDir() || !private(info)) {
		err = fmt.Errorf("%s: %w", p.dir, errUntrusted)
	}
	return err
}

func (p place) slot(n int) string { return filepath.Join(p.dir, p.name+fmt.Sprint(n)) }

// listen listens on the first slot that is free. A file without a listener was left by a watch
// that was killed. Only it makes the directory: list changes nothing.
func (p place) listen() (listener net.Listener, err error) {
	if err := os.Mkdir(p.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	for slot := range slots {
		path := p.slot(slot)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, dialErr := p.dial(ctx, slot)
		cancel()
		if dialErr == nil {
			conn.Close()
		}
		if !errors.Is(dialErr, errNobody) {
			err = fmt.Errorf("%s is in use", path)
			continue
		}
		_ = os.Remove(path)
		if listener, err = net.Listen("unix", path); err == nil {
			break
		}
	}
	return listener, err
}

func (p place) dial(ctx context.Context, slot int) (net.Conn, error) {
	path := p.slot(slot)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, errNobody
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil && refused(err) {
		return nil, errNobody
	}
	return conn, err
}

func (place) peer(net.Conn) (Client, error) { return Client{UID: -1}, nil }
