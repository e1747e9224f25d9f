package watcher

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// birthLooks is how many times a process is looked at: when it is first seen it may still
	// be the fork of the spawner, and execute the trampoline later.
	birthLooks = 3

	// birthBatch is how many processes are looked at before the session handles events, in
	// some 2 ms. The others have their turn the next time.
	birthBatch = 512
)

// births finds dirs whose daemon has begun since the last look, by the program that a process
// executes (proc_pid_exe(5)): that is the trampoline in its dir. The cost depends on the number
// of processes, not of dirs. It does not see what runs as another user, unless we are root, or
// in another mount namespace.
type births struct {
	looks map[int]int // by pid: how many times it was looked at, or birthLooks
}

// look returns the names of the dirs in root whose program a process executes that was not
// returned before, with its pid.
func (b *births) look(root string) map[string]int {
	proc := cmp.Or(os.Getenv("HOST_PROC"), "/proc") // as gopsutil does
	f, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer f.Close()
	files, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	found := make(map[string]int)
	looks := make(map[int]int, len(files))
	left := birthBatch
	for _, file := range slices.Backward(files) { // the latest come first
		pid, err := strconv.Atoi(file)
		if err != nil {
			continue
		}
		n := b.looks[pid]
		if n < birthLooks && left > 0 {
			left--
			n++
			program, _ := os.Readlink(filepath.Join(proc, file, "exe"))
			rel, inside := strings.CutPrefix(program, root+string(filepath.Separator))
			if name, _, isFile := strings.Cut(rel, string(filepath.Separator)); inside && isFile {
				found[name] = pid
				n = birthLooks
			}
		}
		looks[pid] = n
	}
	b.looks = looks
	return found
}
