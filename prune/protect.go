package prune

// Which dirs are never removed, whatever their daemon's state.

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"runtimegc/registry/daemondir"
)

// CheckPattern returns an error if pattern may not be in [Options.Protect], because it is
// malformed or empty.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty pattern matches no name")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return nil
}

// SetProtect replaces the patterns of [Options.Protect], for every decision from now on. If
// one of them is invalid, it returns an error and changes nothing.
func (c *Collector) SetProtect(patterns []string) error {
	for _, pattern := range patterns {
		if err := CheckPattern(pattern); err != nil {
			return fmt.Errorf("prune: Protect: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.protect = slices.Clone(patterns)
	return nil
}

// Protect returns the patterns in effect.
func (c *Collector) Protect() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.protect)
}

// protectedBy returns what protects a daemon dir, in words, or "" if nothing does. For a
// quarantined dir its original name counts.
func (c *Collector) protectedBy(e daemondir.Entry) string {
	if e.Protected {
		return "a mark in it, which 'runtimegc unprotect' removes"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pattern := range c.protect {
		if ok, _ := path.Match(pattern, strings.TrimPrefix(e.Name, daemondir.QuarantinePrefix)); ok {
			return fmt.Sprintf("the pattern %q", pattern)
		}
	}
	return ""
}
