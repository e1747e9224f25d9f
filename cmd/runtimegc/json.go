package main

// The JSON on stdout. DEL and the C1 control characters, which are valid in JSON, are escaped as
// well: a terminal may obey them.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// outputSize is how many bytes are written at a time to stdout, which may be a pipe.
const outputSize = 64 << 10

// printJSON prints v.
func printJSON(w io.Writer, v any) error {
	text, enc := newJSONEncoder("")
	if err := enc.Encode(v); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, outputSize)
	_ = writeJSON(out, text.String()) // so is that of Flush
	return out.Flush()
}

// newJSONEncoder returns an encoder, and what it writes to. Each line but the first begins with
// prefix.
func newJSONEncoder(prefix string) (*bytes.Buffer, *json.Encoder) {
	text := new(bytes.Buffer)
	enc := json.NewEncoder(text)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	return text, enc
}

// writeJSON writes JSON to out.
func writeJSON(out *bufio.Writer, text string) error {
	for {
		i := strings.IndexFunc(text, func(r rune) bool { return 0x7f <= r && r < 0xa0 })
		if i < 0 {
			_, err := out.WriteString(text) // the first error of all
			return err
		}
		control, size := utf8.DecodeRuneInString(text[i:])
		fmt.Fprintf(out, `%s\u%04x`, text[:i], control)
		text = text[i+size:]
	}
}

// A jsonArray prints an array as printJSON does, but each element as it comes. Without its end
// it is not valid JSON.
type jsonArray struct {
	out  *bufio.Writer
	text *bytes.Buffer
	enc  *json.Encoder
	more bool // there is an element already
}

func newJSONArray(w io.Writer) *jsonArray {
	text, enc := newJSONEncoder("  ")
	return &jsonArray{out: bufio.NewWriterSize(w, outputSize), text: text, enc: enc}
}

func (a *jsonArray) add(v any) error {
	before := "[\n  "
	if a.more {
		before = ",\n  "
	}
	a.more = true
	a.text.Reset()
	if err := a.enc.Encode(v); err != nil {
		return err
	}
	return writeJSON(a.out, before+strings.TrimSuffix(a.text.String(), "\n"))
}

func (a *jsonArray) end() error {
	last := "[]\n"
	if a.more {
		last = "\n]\n"
	}
	a.out.WriteString(last)
	return a.out.Flush() // the first error of all
}
