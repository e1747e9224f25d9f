package fsys

import (
	"errors"
	"io/fs"
)

// ErrReplaced says that another directory has the name of the one that was meant.
var ErrReplaced = errors.New("replaced")

// treeBatch is how much of a directory is read at a time, in bytes: some 1,000 names. What
// emptying a tree needs in memory does not depend on its size.
const treeBatch = 32 << 10

// file is what is to be known of a file before it is removed.
type file struct {
	dir   bool
	bytes int64 // that its removal frees: a trampoline is a link to a binary that all share
}

// Freed is what was removed.
type Freed struct {
	Files int   // files and directories
	Bytes int64 // of files whose last link it was
}

// Empty removes all that is in t but for the name spare, and counts it. It goes on after
// an error, and returns the first. removed, if not nil, is called after each name.
func (t *Tree) Empty(spare string, freed *Freed, removed func(name string)) error {
	for {
		var first error
		count := 0
		for {
			names, err := t.next()
			if err != nil {
				return notIfGone(err)
			}
			before := count
			for _, name := range names {
				if name == spare {
					continue
				}
				if err := t.Remove(name, freed); err == nil {
					count++
				} else if first == nil {
					first = err
				}
				if removed != nil {
					removed(name)
				}
			}
			if len(names) == 0 || !treeReadsOn && count == before {
				break
			}
		}
		if count == 0 || !t.again() {
			return first
		}
	}
}

// Remove removes name, and what is below it, from t, and counts it. What is gone is no
// error.
func (t *Tree) Remove(name string, freed *Freed) error {
	f, err := t.stat(name)
	if err != nil {
		return notIfGone(err)
	}
	if f.dir {
		below, err := t.below(name)
		if err != nil {
			return notIfGone(err)
		}
		err = below.Empty("", freed, nil)
		below.Close()
		if err != nil {
			return err
		}
	}
	if err := t.remove(name, f.dir); err != nil {
		return notIfGone(err)
	}
	freed.Files++
	freed.Bytes += f.bytes
	return nil
}

func notIfGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
