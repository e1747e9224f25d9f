// Tested reads what "go test -json" or "go tool test2json" prints, shows how each package
// ended, the output of tests that failed and how many were skipped for which reason, and fails
// if one failed, or if one was skipped and .ci/skips does not allow it. Its arguments are the
// conditions that hold, such as root.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Event is one of "go doc test2json"; lines that are none come from the build.
type event struct {
	Action, Package, Test, Output string
}

// Allowed is one line of .ci/skips.
type allowed struct {
	condition string
	test      *regexp.Regexp
	message   string
}

func main() {
	list, err := read(".ci/skips")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !report(list, os.Args[1:]) {
		os.Exit(1)
	}
}

func read(path string) ([]allowed, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []allowed
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s:%d: want: condition, test, message", path, i+1)
		}
		test, err := regexp.Compile("^(" + fields[1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		list = append(list, allowed{fields[0], test, strings.Join(fields[2:], " ")})
	}
	return list, nil
}

// Report prints, and says whether all is well: packages ended, none of them failed, and
// each skip is allowed under the conditions.
func report(list []allowed, conditions []string) bool {
	well, ended, skipped := true, 0, make(map[string]int)
	output := map[string]*strings.Builder{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		if output[key] == nil {
			output[key] = &strings.Builder{}
		}
		said := output[key]
		switch e.Action {
		case "output", "build-output":
			if e.Package == "" {
				fmt.Print(e.Output)
			} else {
				said.WriteString(e.Output)
			}
			continue
		case "fail":
			well = false
			fmt.Printf("FAIL %s\n%s", key, said)
		case "skip":
			if e.Test == "" {
				break // a package without tests
			}
			if i := allowing(list, conditions, e.Test, said.String()); i >= 0 {
				skipped[list[i].condition+": "+list[i].message]++
			} else {
				well = false
				fmt.Printf("SKIPPED, and .ci/skips does not allow it (%s): %s\n%s", strings.Join(conditions, " "), key, said)
			}
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok   %s\n", e.Package)
			}
		default:
			continue
		}
		if e.Test == "" {
			ended++
		}
		delete(output, key)
	}
	if err := lines.Err(); err != nil {
		fmt.Println(err)
		return false
	}
	fmt.Printf("%d packages\n", ended)
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Printf("%4d tests skipped, %s\n", skipped[why], why)
	}
	return well && ended > 0
}

// Allowing returns the index of the line that allows the skip, or -1.
func allowing(list []allowed, conditions []string, test, said string) int {
	said = strings.Join(strings.Fields(said), " ")
	return slices.IndexFunc(list, func(a allowed) bool {
		return (a.condition == "always" || slices.Contains(conditions, a.condition)) &&
			a.test.MatchString(test) && strings.Contains(said, a.message)
	})
}
