//go:build !portable

package mounts

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnescapeOctal(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `/a\134040`: `/a\040`, `\`: `\`, `/a\04`: `/a\04`, `/a\999`: `/a\999`,
		`/a\040`: "/a ", `\040`: " ", `/a\040\011b`: "/a \tb", `/a\377`: "/a\xff", `/a\400`: `/a\400`, `/a\b40`: `/a\b40`, `/a\+40`: `/a\+40`,
	} {
		if got := Unescape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// A line that is none of proc_pid_mountinfo(5) is left out, and those around it are not.
func TestIn(t *testing.T) {
	const table = `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
37 35 8:1 / /short
x 35 8:1 / /id rw - ext4 /dev/sda1 rw
38 35 x:1 / /major rw - ext4 /dev/sda1 rw
38 35 8:x / /minor rw - ext4 /dev/sda1 rw
38 35 8 / /device rw - ext4 /dev/sda1 rw
38 35 4294967296:1 / /large-major rw - ext4 /dev/sda1 rw
38 35 8:4294967296 / /large-minor rw - ext4 /dev/sda1 rw

18446744073709551615 35 4095:1048575 /a\040b /c\011d\134 rw shared:1 - ext4 /dev/sda1 rw
40 35 0:45 / /the-last rw - tmpfs tmpfs rw`
	want := []Mount{
		{36, unix.Mkdev(98, 0), "/mnt1", "/mnt2"},
		{1<<64 - 1, unix.Mkdev(4095, 1<<20-1), "/a b", "/c\td\\"},
		{40, unix.Mkdev(0, 45), "/", "/the-last"},
	}
	if got := slices.Collect(In([]byte(table))); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for m := range In([]byte(table)) { // who has seen enough is not given more
		if m != want[0] {
			t.Errorf("after the first: %+v", m)
		}
		break
	}
}

// What covers a path is mounted deepest; of two at one point, what was mounted last.
func TestCovering(t *testing.T) {
	const table = `1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 8:2 /sub /home rw - ext4 /dev/sda2 rw
3 2 8:3 / /home/u rw - ext4 /dev/sda3 rw
4 3 8:4 /top /home/u rw - ext4 /dev/sda4 rw
5 1 8:5 / /home2 rw - ext4 /dev/sda5 rw
6 1 8:6 / /srv rw - ext4 /dev/sda6 rw
`
	for path, want := range map[string]struct {
		id     uint64
		inside string
	}{
		"/":            {1, "/"},
		"/etc/x":       {1, "/etc/x"},
		"/home":        {2, "/sub"},
		"/home/v/x":    {2, "/sub/v/x"},
		"/home/u":      {4, "/top"},
		"/home/u/x":    {4, "/top/x"},
		"/home2/u":     {5, "/u"},
		"/home2":       {5, "/"},
		"/home23":      {1, "/home23"},
		"/srv/runtime": {6, "/runtime"},
	} {
		m, inside, ok := Covering([]byte(table), path)
		if !ok || m.ID != want.id || inside != want.inside {
			t.Errorf("%s: %+v, %q, %v; want mount %d, %q", path, m, inside, ok, want.id, want.inside)
		}
	}
	// In a chroot(2) that is no mount point.
	if m, _, ok := Covering([]byte("2 1 8:2 / /home rw - ext4 /dev/sda2 rw\n"), "/srv"); ok {
		t.Errorf("it is covered by %+v", m)
	}
	if m, _, ok := Covering(nil, "/"); ok {
		t.Errorf("without a mount it is covered by %+v", m)
	}
}

// Join undoes Below.
func TestBelow(t *testing.T) {
	for _, row := range []struct {
		path, dir, rel string
		below          bool
	}{
		{"/", "/", "", true},
		{"/a", "/", "a", true},
		{"/a/b", "/", "a/b", true},
		{"/a", "/a", "", true},
		{"/a/b/c", "/a", "b/c", true},
		{"/a/b", "/a/b", "", true},
		{"/ab", "/a", "", false},
		{"/ab/c", "/a", "", false},
		{"/a", "/a/b", "", false},
		{"/b", "/a", "", false},
	} {
		rel, ok := Below(row.path, row.dir)
		if rel != row.rel || ok != row.below {
			t.Errorf("%s below %s: %q, %v", row.path, row.dir, rel, ok)
		}
		if ok && Join(row.dir, rel) != row.path {
			t.Errorf("%q joined to %s is %q", rel, row.dir, Join(row.dir, rel))
		}
	}
}
