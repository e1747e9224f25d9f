//go:build !portable

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// A place is where the sockets of a root are.
type place struct {
	name  string
	owner int // of the root
}

func newPlace(root string, id daemondir.FileID) (place, error) {
	p := place{name: fmt.Sprintf("@runtimegc/%x-%x/", id.Dev, id.Ino), owner: -1}
	var st unix.Stat_t
	if unix.Stat(root, &st) == nil && st.Dev == id.Dev && st.Ino == id.Ino {
		p.owner = int(st.Uid)
	}
	return p, nil
}

// listen listens on the first slot that is free.
func (p place) listen() (listener net.Listener, err error) {
	for slot := range slots {
		if listener, err = net.Listen("unix", p.slot(slot)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return listener, err
}

func (p place) slot(n int) string { return fmt.Sprint(p.name, n) }

func (p place) dial(ctx context.Context, slot int) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", p.slot(slot))
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, errNobody
	}
	return conn, err
}

// peer returns who is at the other end: on the side of the client, who has begun to listen. The
// error is errUntrusted, or that this is not known.
func (p place) peer(conn net.Conn) (Client, error) {
	var known *unix.Ucred
	err := errors.New("not a socket of the system")
	if socket, ok := conn.(*net.UnixConn); ok {
		var raw interface{ Control(func(uintptr)) error }
		if raw, err = socket.SyscallConn(); err == nil {
			controlErr := raw.Control(func(fd uintptr) {
				known, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
			})
			err = errors.Join(err, controlErr)
		}
	}
	if err != nil {
		return Client{}, err
	}
	c := Client{PID: int(known.Pid), UID: int(known.Uid)}
	if c.UID != 0 && c.UID != os.Geteuid() && c.UID != p.owner {
		return c, errUntrusted
	}
	return c, nil
}
