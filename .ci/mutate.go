// Mutate changes one thing in the code at a time and runs the tests: a mutant that they do
// not notice has survived. It is started by .ci/mutate, which says how, and which protects
// the machine. The source stays as it is: the go command is given each mutant by -overlay.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	sample   = flag.Int("n", 25, "mutants per package, drawn at random; 0: all")
	seed     = flag.Uint64("seed", 1, "of the draw")
	parallel = flag.Int("p", 2, "how many at a time")
	timeout  = flag.Duration("timeout", 0, "for the tests of a package; 0: 3 times what they take unchanged, and 20 s")
	tags     = flag.String("tags", "", "build tags")
	list     = flag.Bool("list", false, "only print what would be changed")
	only     = flag.String("run", "", "of the package's own tests, those whose names match `TESTS`")
	also     []suite // tests for what the package's own tests let survive
)

// Suite is tests of one package: all, or those whose names match run.
type suite struct {
	dir, run string
	timeout  time.Duration
}

// Mutant is a file with one change: the bytes from start to end become text.
type mutant struct {
	file       string
	line       int
	start, end int
	text       string
	what       string
	outcome    outcome
	by         string // the test that failed
}

type outcome int

const (
	survived outcome = iota
	killed
	tookTooLong
	notCompiled
)

func main() {
	flag.Func("also", "`DIR:TESTS`, run against what survives the package's own tests; may be repeated", func(s string) error {
		dir, run, ok := strings.Cut(s, ":")
		if !ok {
			return errors.New("want DIR:TESTS")
		}
		also = append(also, suite{dir: dir, run: run})
		return nil
	})
	flag.Parse()
	if err := mutate(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Mutate takes directories, files, and FILE:LINE.
func mutate(args []string) error {
	var dirs []string
	byDir := map[string][]*mutant{}
	for _, arg := range args {
		path, line, _ := strings.Cut(arg, ":")
		found, err := mutantsOf(path)
		if err != nil {
			return err
		}
		if line != "" {
			found = slices.DeleteFunc(found, func(m *mutant) bool { return strconv.Itoa(m.line) != line })
		}
		dir := filepath.Clean(path)
		if strings.HasSuffix(path, ".go") {
			dir = filepath.Dir(path)
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], found...)
	}
	scratch, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	must(os.Chmod(scratch, 0o755)) // as in run
	for _, dir := range dirs {
		if err := testPackage(scratch, dir, byDir[dir]); err != nil {
			return err
		}
	}
	return nil
}

func testPackage(scratch, dir string, all []*mutant) error {
	if *list {
		for _, m := range all {
			fmt.Printf("%s:%d: %s\n", m.file, m.line, m.what)
		}
		return nil
	}
	// Without a change all must pass, or the outcomes mean nothing.
	suites := append([]suite{{dir: dir, run: *only}}, also...)
	for i, s := range suites {
		began := time.Now()
		s.timeout = time.Hour
		if o, by := run(scratch, s, nil); o != survived {
			return fmt.Errorf("%s: the tests do not pass without a change: %s", s.dir, by)
		}
		suites[i].timeout = cmp.Or(*timeout, 3*time.Since(began)+20*time.Second)
	}

	object, ok := compiled(scratch, dir, nil)
	if !ok {
		return fmt.Errorf("%s does not compile", dir)
	}
	known := map[[sha256.Size]byte]bool{object: true}
	random := rand.New(rand.NewPCG(*seed, 0))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	broken, same := 0, 0
	var drawn []*mutant
	for _, m := range all {
		if *sample > 0 && len(drawn) == *sample {
			break
		}
		switch object, ok := compiled(scratch, dir, m); {
		case !ok:
			broken++
		case known[object]:
			same++
		default:
			known[object] = true
			drawn = append(drawn, m)
		}
	}
	work := make(chan *mutant)
	var workers sync.WaitGroup
	for range *parallel {
		workers.Go(func() {
			for m := range work {
				judge(scratch, suites, m)
			}
		})
	}
	for _, m := range drawn {
		work <- m
	}
	close(work)
	workers.Wait()
	var count [notCompiled + 1]int // the vet of go test refuses some that compile
	for _, m := range drawn {
		if m.outcome == tookTooLong { // maybe for want of a processor: once more, alone
			judge(scratch, suites, m)
		}
		count[m.outcome]++
	}
	slices.SortFunc(drawn, func(a, b *mutant) int {
		return cmp.Or(strings.Compare(a.file, b.file), a.line-b.line)
	})
	for _, m := range drawn {
		if m.outcome == survived {
			fmt.Printf("SURVIVED %s:%d: %s\n", m.file, m.line, m.what)
		}
	}
	tested := len(drawn) - count[notCompiled]
	fmt.Printf("%s: of %d possible mutants %d tested, seed %d (%d more do not compile, %d are the original or another mutant): %d killed, %d took too long, %d survived: %.1f%%\n",
		dir, len(all), tested, *seed, broken+count[notCompiled], same, count[killed], count[tookTooLong], count[survived],
		100*float64(count[killed]+count[tookTooLong])/float64(max(1, tested)))
	return nil
}

// Killers are the tests that have killed a mutant of each file. They come first for the next
// one: most are killed by few tests.
var killers = struct {
	sync.Mutex
	of map[string][]string
}{of: map[string][]string{}}

// Judge runs the tests on a mutant, and prints what came of it.
func judge(scratch string, suites []suite, m *mutant) {
	killers.Lock()
	first := killers.of[m.file]
	killers.Unlock()
	for i, s := range suites {
		if i == 0 && len(first) > 0 {
			some := s
			some.run = "^(" + strings.Join(first, "|") + ")$"
			if m.outcome, m.by = run(scratch, some, m); m.outcome != survived {
				break
			}
		}
		if m.outcome, m.by = run(scratch, s, m); m.outcome != survived {
			if name, ok := strings.CutPrefix(m.by, "by Test"); ok && i == 0 {
				name, _, _ = strings.Cut("Test"+name, "/")
				killers.Lock()
				if !slices.Contains(killers.of[m.file], name) {
					killers.of[m.file] = append(slices.Clone(killers.of[m.file]), name)
				}
				killers.Unlock()
			}
			break
		}
	}
	word := [...]string{"survived", "killed", "took too long", "does not compile"}[m.outcome]
	fmt.Printf("%s:%d: %s: %s %s\n", m.file, m.line, m.what, word, m.by)
}

// Overlay returns the environment in which the go command sees the mutant; the tests that
// build the program have it from there.
func overlay(dir string, m *mutant) []string {
	env := append(os.Environ(), "TMPDIR="+dir)
	if m == nil {
		return env
	}
	source, err := os.ReadFile(m.file)
	must(err)
	changed := filepath.Join(dir, "changed.go")
	must(os.WriteFile(changed, []byte(string(source[:m.start])+m.text+string(source[m.end:])), 0o666))
	file, err := filepath.Abs(m.file)
	must(err)
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	must(err)
	must(os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o666))
	return append(env, "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+filepath.Join(dir, "overlay.json"))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

var buildID = regexp.MustCompile(`(?m)^build id .*$`)

// Compiled returns the hash of a package's machine code, or false if it does not compile.
// Inlining would put the places in the source into it, so it is off.
func compiled(scratch, dir string, m *mutant) (object [sha256.Size]byte, ok bool) {
	temp, err := os.MkdirTemp(scratch, "")
	must(err)
	defer os.RemoveAll(temp)
	name := filepath.Join(temp, "package.a")
	c := exec.Command("go", "build", "-tags", *tags, "-gcflags", "-l -dwarf=false", "-o", name, "./"+dir)
	c.Env = overlay(temp, m)
	if c.Run() != nil {
		return object, false
	}
	text, err := os.ReadFile(name)
	must(err)
	return sha256.Sum256(buildID.ReplaceAll(text, nil)), true
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*|fatal error: .*)`)

func run(scratch string, s suite, m *mutant) (outcome, string) {
	temp, err := os.MkdirTemp(scratch, "")
	must(err)
	defer os.RemoveAll(temp)
	must(os.Chmod(temp, 0o755)) // tests that become another user
	tests := filepath.Join(temp, "tests")
	must(os.Mkdir(tests, 0o700))
	must(os.Chmod(tests, 0o777|os.ModeSticky)) // as /tmp is, for the same
	program := filepath.Join(temp, "program.test")
	c := exec.Command("go", "test", "-c", "-tags", *tags, "-o", program, "./"+s.dir)
	c.Env = overlay(temp, m)
	if text, err := c.CombinedOutput(); err != nil {
		return notCompiled, string(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout+10*time.Second)
	defer cancel()
	c = exec.CommandContext(ctx, program, "-test.failfast", "-test.timeout", s.timeout.String(), "-test.run", s.run)
	c.Dir, c.Env = s.dir, append(overlay(temp, m), "TMPDIR="+tests)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second // processes of the tests may hold the output
	text, err := c.CombinedOutput()
	if c.Process != nil {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // what the tests left
	}
	switch why := failed.FindString(string(text)); {
	case ctx.Err() != nil || strings.Contains(why, "test timed out"):
		return tookTooLong, ""
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return survived, ""
	case why == "":
		return killed, "by " + err.Error()
	default:
		return killed, "by " + strings.TrimPrefix(strings.TrimSpace(why), "--- FAIL: ")
	}
}
