package main

// Values of flags. What is wrong with one is found out where it is set, so that the
// command line and the environment are told of it alike.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// duration is a positive time; times are reckoned in milliseconds.
type duration time.Duration

func (d *duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("no duration such as 90s, 5m or 6h")
	}
	if parsed < time.Millisecond {
		return errors.New("it must be positive (at least 1ms)")
	}
	*d = duration(parsed)
	return nil
}

func (d *duration) String() string { return time.Duration(*d).String() }
func (d *duration) Type() string   { return "duration" }

// choice is one of some words.
type choice struct {
	word string
	of   []string
}

func (c *choice) Set(text string) error {
	if !slices.Contains(c.of, text) {
		last := len(c.of) - 1
		return fmt.Errorf("it must be %s or %s", strings.Join(c.of[:last], ", "), c.of[last])
	}
	c.word = text
	return nil
}

func (c *choice) String() string { return c.word }
func (c *choice) Type() string   { return "string" }

// path is the absolute path of a file.
type path string

func (p *path) Set(text string) error {
	if text == "" {
		return errors.New("it is empty; leave it out for the default")
	}
	abs, err := filepath.Abs(text)
	*p = path(abs)
	return err
}

func (p *path) String() string { return string(*p) }
func (p *path) Type() string   { return "file" }

// paths is a list of absolute paths; the first that is set takes the place of the
// default. It is a [pflag.SliceValue].
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
