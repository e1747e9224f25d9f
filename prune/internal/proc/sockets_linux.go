//go:build !portable

package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const socketUse = "a bound socket"

// tableReads is how often the tables of sockets are read. The kernel hands them out piece by
// piece, and a socket that is closed in between can make it leave out another one: measured
// in 1 of 1,000 reads, while sockets were opened and closed all the time.
const tableReads = 2

// boundSockets notes UNIX sockets that are bound in the root, in every network namespace in
// which there is a process that we may look into.
func (l *lookout) boundSockets() error {
	for range tableReads {
		for _, processes := range l.nets {
			l.boundIn(processes)
		}
		if err := l.boundFiles(); err != nil {
			return err
		}
	}
	return nil
}

// boundIn notes the sockets of the network namespace in which these processes are. The first
// ones may have exited, or entered another one.
func (l *lookout) boundIn(processes []*user) {
	for _, p := range processes {
		table, err := os.ReadFile(p.dir + "/net/unix")
		if err != nil {
			continue
		}
		if net, err := os.Readlink(p.dir + "/ns/net"); err != nil || net != p.net {
			continue
		}
		for line := range strings.Lines(string(table)) {
			l.boundSocket(strings.TrimSuffix(line, "\n"), p)
		}
		return
	}
}

// boundFiles notes the sockets of our own network namespace by the files that they are bound
// to, which the kernel names however their paths were written.
func (l *lookout) boundFiles() error {
	err := eachBoundSocket(func(socket, file uint32, device uint64) {
		if device == l.views.tree.device {
			use := Use{How: socketUse}
			if owner := l.owners[uint64(socket)]; owner != nil {
				use.PID = owner.pid
			}
			l.sockets[file] = use
		}
	})
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		return err
	}
	return nil // a kernel without sock_diag(7), or a filter before it
}

// boundSocket notes one line of a table of UNIX sockets, as p has it:
//
//	Num       RefCount Protocol Flags    Type St Inode Path
//	00000000: 00000003 00000000 00000000 0001 03 12345 /run/user/0/bus
//
// The path is what was given to bind(2): a relative one is taken to be relative to where
// the owner is now, and symlinks are not resolved.
func (l *lookout) boundSocket(line string, p *user) {
	fields := strings.Fields(line)
	if len(fields) < 8 {
		return // not bound
	}
	socket, err := strconv.ParseUint(fields[6], 10, 64)
	_, path, _ := strings.Cut(line, " "+fields[6]+" ")
	if err != nil || path == "" || path[0] == '@' { // an abstract name is no file
		return
	}
	if owner := l.owners[socket]; owner != nil {
		p = owner
	}
	if path[0] != '/' {
		path = p.cwd + "/" + path
	}
	l.use(p, path, socketUse)
}

// eachBoundSocket calls each with the UNIX sockets of this network namespace that are bound
// to a file, by sock_diag(7): the numbers of socket and file, and the file system's device.
func eachBoundSocket(each func(socket, file uint32, device uint64)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var request bytes.Buffer
	for _, part := range []any{
		unix.NlMsghdr{Len: 16 + 24, Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
		struct { // unix_diag_req
			Family, Protocol  uint8
			_                 uint16
			States, Ino, Show uint32
			Cookie            [2]uint32
		}{Family: unix.AF_UNIX, States: ^uint32(0), Show: 1 << 1 /* UDIAG_SHOW_VFS */},
	} {
		if err := binary.Write(&request, binary.NativeEndian, part); err != nil {
			return err
		}
	}
	if err := unix.Sendto(fd, request.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return errors.ErrUnsupported
			}
			if file, device, ok := boundTo(m.Data); ok {
				each(binary.NativeEndian.Uint32(m.Data[4:]), file, device)
			}
		}
	}
}

// boundTo returns what the attribute UNIX_DIAG_VFS says, if a message has it.
func boundTo(message []byte) (file uint32, device uint64, ok bool) {
	const header = 16 // of unix_diag_msg
	for rest := message[min(header, len(message)):]; len(rest) >= 4; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < 4 || size > len(rest) {
			break
		}
		if kind := binary.NativeEndian.Uint16(rest[2:]); kind == 1 && size >= 12 {
			d := binary.NativeEndian.Uint32(rest[8:])
			// As the kernel has it in itself: MAJOR and MINOR of include/linux/kdev_t.h.
			return binary.NativeEndian.Uint32(rest[4:]), unix.Mkdev(d>>20, d&(1<<20-1)), true
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return 0, 0, false
}
