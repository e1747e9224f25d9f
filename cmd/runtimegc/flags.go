package main

// Types of flag values. Set refuses a wrong value, whether it comes from the command line or
// from the environment.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"runtimegc/prune"
)

// duration is at least a millisecond, the unit of all timestamps.
type duration time.Duration

func (d *duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("it must be a duration, such as 90s, 5m or 6h")
	}
	if parsed < time.Millisecond {
		return errors.New("it must be positive (at least 1ms)")
	}
	*d = duration(parsed)
	return nil
}

func (d *duration) String() string { return time.Duration(*d).String() }
func (d *duration) Type() string   { return "duration" }

// offOrDuration is a duration that may also be given in days, or "off", which is 0.
type offOrDuration time.Duration

const day = 24 * time.Hour

func (d *offOrDuration) Set(text string) error {
	if text == "off" {
		*d = 0
		return nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			*d = offOrDuration(time.Duration(n) * day)
			return nil
		}
	}
	if (*duration)(d).Set(text) != nil {
		return errors.New("it must be off or a duration, such as 30d, 12h or 90m")
	}
	return nil
}

func (d *offOrDuration) String() string {
	switch t := time.Duration(*d); {
	case t == 0:
		return "off"
	case t%day == 0:
		return fmt.Sprintf("%dd", t/day)
	default:
		return t.String()
	}
}

func (d *offOrDuration) Type() string { return "duration" }

// choice is one of some words.
type choice struct {
	word string
	of   []string
}

func (c *choice) Set(text string) error {
	if !slices.Contains(c.of, text) {
		return fmt.Errorf("it must be %s%s", either(c.of), didYouMean(text, c.of))
	}
	c.word = text
	return nil
}

func (c *choice) String() string { return c.word }
func (c *choice) Type() string   { return "string" }

// choices is any number of some words, separated by commas or given one by one.
type choices struct {
	words []string
	of    []string
}

func (c *choices) Set(text string) error {
	words := strings.Split(text, ",")
	for _, word := range words {
		if !slices.Contains(c.of, word) {
			return fmt.Errorf("%q must be %s%s", word, either(c.of), didYouMean(word, c.of))
		}
	}
	c.words = append(c.words, words...)
	return nil
}

func (c *choices) String() string { return strings.Join(c.words, ",") }
func (c *choices) Type() string   { return "states" }

// either returns "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// path is the absolute path of a file.
type path string

func (p *path) Set(text string) error {
	if text == "" {
		return errors.New("it is empty; leave the flag out for the default")
	}
	abs, err := filepath.Abs(text)
	*p = path(abs)
	return err
}

func (p *path) String() string { return string(*p) }
func (p *path) Type() string   { return "file" }

// paths is a list of absolute paths. The first Set replaces the default. It implements
// [pflag.SliceValue].
type paths struct {
	list  []string
	given bool
}

func (p *paths) Set(text string) error {
	if !p.given {
		p.list, p.given = nil, true
	}
	return p.Append(text)
}

func (p *paths) Append(text string) error {
	var one path
	err := one.Set(text)
	p.list = append(p.list, string(one))
	return err
}

func (p *paths) Replace(all []string) error {
	p.list, p.given = nil, true
	for _, text := range all {
		if err := p.Append(text); err != nil {
			return err
		}
	}
	return nil
}

func (p *paths) GetSlice() []string { return p.list }
func (p *paths) String() string     { return strings.Join(p.list, string(os.PathListSeparator)) }
func (p *paths) Type() string       { return "directory" }

// globs are patterns for the names of daemons. It implements [pflag.SliceValue].
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
func (g *globs) Type() string       { return "pattern" }

// UnmarshalTOML refuses what is not a list of valid patterns. Its error is not shown; see
// configFile.read.
func (g *globs) UnmarshalTOML(value any) error {
	list, ok := value.([]any)
	if !ok {
		return errors.New("not a list")
	}
	for _, one := range list {
		pattern, ok := one.(string)
		if !ok {
			return errors.New("not text")
		}
		if err := g.Append(pattern); err != nil {
			return err
		}
	}
	return nil
}
