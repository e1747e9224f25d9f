package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a command costs that is run for its answer, over dirs that are dead: its time on the
// clock, its processor time and its peak memory.
func BenchmarkCommand(b *testing.B) {
	for _, n := range sizes(300_000, 1_000, 10_000, 100_000) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			root := benchRoot(b, true)
			fill(b, root, n, benchSidecar(time.Now(), time.Now()), noProcess)
			for _, command := range []struct {
				name string
				args []string
			}{
				{"list", []string{"list", "--root", root}},
				{"json", []string{"list", "--root", root, "--json"}},
				{"complete", []string{"__complete", "list", "--root", root, ""}}, // as a shell does
			} {
				b.Run(command.name, func(b *testing.B) {
					turns := newTurns(b, "")
					for b.Loop() {
						took, used, peak := costOf(b, command.args)
						turns.add("s", took)
						turns.add("cpu-s", used)
						turns.add("peak-MiB", peak)
					}
					turns.report()
				})
			}
		})
	}
}

// costOf runs the program and returns its time on the clock and its processor time, in
// seconds, and the most memory it had, in MiB.
func costOf(b *testing.B, args []string) (took, used, peak float64) {
	b.Helper()
	cmd := exec.Command(ownProgram(b), append([]string{binary(b)}, args...)...)
	cmd.Env = append(os.Environ(), bareEnv+"=cost")
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v: %v", args, err)
	}
	if _, err := fmt.Sscan(string(out), &took, &used, &peak); err != nil {
		b.Fatalf("the cost of %v is %q: %v", args, out, err)
	}
	return took, used, peak
}

// bareCost runs a command and prints what it cost. It is a process of its own because the
// ru_maxrss of a child, see getrusage(2), is not below the peak of who started it with vfork.
func bareCost(args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		panic(err.Error() + ": " + said.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Println(time.Since(began).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		float64(usage.Maxrss)/1024)
}
