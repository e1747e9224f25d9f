package prune

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"runtimegc/registry/daemondir"
)

// patterns are the names of daemons whose dirs are never removed, in the syntax of
// [path.Match].
type patterns []string

// CheckPattern returns an error if pattern is none that [Options] may have in Protect:
// if it is malformed, or empty.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty pattern matches no name")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return nil
}

// match says whether the daemon dir of that name is protected. One that a removal has
// moved away still is by the name it had.
func (p patterns) match(dirName string) bool { return p.first(dirName) != "" }

// first returns the first pattern that protects the dir, or "".
func (p patterns) first(dirName string) string {
	for _, pattern := range p {
		if ok, _ := path.Match(pattern, strings.TrimPrefix(dirName, daemondir.QuarantinePrefix)); ok {
			return pattern
		}
	}
	return ""
}
