package main

import (
	"strings"

	"runtimegc/prune"
)

// globs is the value of --protect: patterns that daemon names are matched against. A
// malformed one is refused where it is set, as a mistake in usage. It is a
// [pflag.SliceValue].
type globs []string

func (g *globs) Set(pattern string) error { return g.Append(pattern) }

func (g *globs) Append(pattern string) error {
	if err := prune.CheckPattern(pattern); err != nil {
		return err
	}
	*g = append(*g, pattern)
	return nil
}

func (g *globs) Replace(all []string) error {
	*g = nil
	for _, pattern := range all {
		if err := g.Append(pattern); err != nil {
			return err
		}
	}
	return nil
}

func (g *globs) GetSlice() []string { return *g }
func (g *globs) String() string     { return strings.Join(*g, " ") }
func (g *globs) Type() string       { return "glob" }
