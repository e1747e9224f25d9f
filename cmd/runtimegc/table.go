package main

// The table of list, as wide as the terminal lets it be, and the lines below it.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// A listing is what list shows of one root.
type listing struct {
	root   string
	rows   []prune.Row // of all its dirs
	states []string    // only these are shown; empty: all
	sizes  bool        // with the column SIZE
	note   string      // for the end; empty, or whole lines
}

// A column of the table.
type column struct {
	title string
	text  func(prune.Row) string
	width int // of its widest text
}

const (
	columnGap = "  "

	// comfortableWhy is how wide WHY is to be before other columns are left out for it, and
	// leastWhy before names are cut for it. Its texts are wrapped.
	comfortableWhy = 20
	leastWhy       = 16

	// leastName is what a name is not cut below. Names that are longer than a third of the
	// terminal, but than this at least, are cut before any column is left out.
	leastName = 12
	someName  = 20
)

// leftOut are the columns that a narrow terminal does without, in this order.
var leftOut = []string{"UP SINCE", "PID", "LAST SEEN"}

// shown returns the rows to be shown.
func (l listing) shown() []prune.Row {
	rows := slices.Clone(l.rows)
	if len(l.states) == 0 {
		return rows
	}
	return slices.DeleteFunc(rows, func(r prune.Row) bool { return !slices.Contains(l.states, string(r.State)) })
}

// print prints the table and the lines below it, at most width columns wide; 0 is no limit.
func (l listing) print(w io.Writer, now time.Time, width int, color bool) error {
	out := bufio.NewWriterSize(w, 64<<10)
	shown := l.shown()
	switch {
	case len(l.rows) == 0:
		fmt.Fprintf(out, "There are no daemons in %s.\n", daemondir.Printable(l.root))
	case len(shown) == 0:
		fmt.Fprintf(out, "No daemon is %s.\n", either(l.states))
	default:
		slices.SortFunc(shown, byRemoval)
		printTable(out, fit(columns(shown, l.sizes, now), width), shown, color)
	}
	below := l.note
	if len(l.rows) > 0 {
		below = fmt.Sprintf("\n%s\n%s\n%s", totalLine(l.rows, l.sizes), nextLine(l.rows, now), l.note)
	}
	for line := range strings.Lines(below) {
		for _, part := range wrap(strings.TrimSuffix(line, "\n"), cmp.Or(width, len(line))) {
			out.WriteString(part + "\n")
		}
	}
	return out.Flush() // it returns the first error of all
}

// columns returns all columns of rows.
func columns(rows []prune.Row, sizes bool, now time.Time) []column {
	all := []column{
		{title: "NAME", text: func(r prune.Row) string { return daemondir.Printable(r.Name) }},
		{title: "STATE", text: func(r prune.Row) string { return string(r.State) }},
		{title: "PID", text: func(r prune.Row) string { return pidText(r.PID) }},
		{title: "UP SINCE", text: func(r prune.Row) string { return upSince(r.StartedAt, now) }},
		{title: "LAST SEEN", text: func(r prune.Row) string { return relative(r.LastSeen, now) }},
		{title: "REMOVED IN", text: func(r prune.Row) string { return removedIn(r, now) }},
	}
	if sizes {
		all = append(all, column{title: "SIZE", text: func(r prune.Row) string { return sizeText(r.Bytes) }})
	}
	all = append(all, column{title: "WHY", text: why})
	for i := range all {
		c := &all[i]
		c.width = len(c.title)
		for _, r := range rows {
			c.width = max(c.width, runewidth.StringWidth(c.text(r)))
		}
	}
	return all
}

// fit makes columns, of which NAME is the first and WHY the last, at most width wide, if that
// can be. What it takes away first costs the reader least: the middle of very long names, then
// the columns leftOut, then more of the names. WHY is wrapped.
func fit(columns []column, width int) []column {
	name, reason := &columns[0], &columns[len(columns)-1]
	others := func() int { // all but those two, and the gaps
		sum := len(columnGap) * (len(columns) - 1)
		for _, c := range columns[1 : len(columns)-1] {
			sum += c.width
		}
		return sum
	}
	if width <= 0 || name.width+others()+reason.width <= width {
		return columns
	}
	longest := name.width
	name.width = min(longest, max(someName, width/3))
	for _, title := range leftOut {
		if width-others()-name.width >= min(reason.width, comfortableWhy) {
			break
		}
		columns = slices.DeleteFunc(columns, func(c column) bool { return c.title == title })
		reason = &columns[len(columns)-1]
	}
	least := min(reason.width, leastWhy)
	name.width = min(name.width, max(leastName, width-others()-least))
	reason.width = max(least, min(reason.width, width-others()-name.width))
	// What is left goes back to the names.
	name.width = max(name.width, min(longest, width-others()-reason.width))
	return columns
}

// printTable prints the rows. The last column is wrapped, the first is cut.
func printTable(out *bufio.Writer, columns []column, rows []prune.Row, color bool) {
	last := len(columns) - 1
	indent := 0
	for i, c := range columns {
		if i == last {
			break
		}
		out.WriteString(c.title)
		pad(out, c.width-len(c.title))
		out.WriteString(columnGap)
		indent += c.width + len(columnGap)
	}
	out.WriteString(columns[last].title + "\n")
	for _, r := range rows {
		for i, c := range columns[:last] {
			text := c.text(r)
			if i == 0 {
				text = cutMiddle(text, c.width)
			}
			out.WriteString(paint(color && c.title == "STATE", r.State, text))
			pad(out, c.width-runewidth.StringWidth(text))
			out.WriteString(columnGap)
		}
		for i, line := range wrap(columns[last].text(r), columns[last].width) {
			if i > 0 {
				pad(out, indent)
			}
			out.WriteString(line + "\n")
		}
	}
}

func pad(out *bufio.Writer, n int) {
	for range n {
		out.WriteByte(' ')
	}
}

// cutMiddle cuts the middle out of text that is wider than width: names that belong together
// often begin alike, and differ at the end.
func cutMiddle(text string, width int) string {
	all := runewidth.StringWidth(text)
	if all <= width {
		return text
	}
	const cut = "…"
	rest := max(0, width-runewidth.StringWidth(cut))
	head := runewidth.Truncate(text, rest-rest/2, "")
	return head + cut + runewidth.TruncateLeft(text, all-rest/2, "")
}

// wrap breaks text between words into lines of at most width; a word that is longer is broken
// as well.
func wrap(text string, width int) []string {
	if runewidth.StringWidth(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && runewidth.StringWidth(line)+1+runewidth.StringWidth(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for runewidth.StringWidth(word) > width {
			head := runewidth.Truncate(word, width, "")
			lines, word = append(lines, head), word[len(head):]
		}
		line = word
	}
	return append(lines, line)
}

// totalLine counts the daemons of all rows.
func totalLine(rows []prune.Row, sizes bool) string {
	counts := make(map[prune.State]int)
	for _, r := range rows {
		counts[r.State]++
	}
	var parts []string
	for _, state := range []prune.State{prune.Alive, prune.Dead, prune.Unknown, prune.Invalid} {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	total := plural(len(rows), "daemon")
	if sizes {
		total += ", " + sumText(rows)
	}
	return total + ": " + strings.Join(parts, ", ") + "."
}

// nextLine says what the next sweep will do with all rows, or when there is something to do.
func nextLine(rows []prune.Row, now time.Time) string {
	var due []prune.Row
	kept, next := 0, daemondir.Timestamp{}
	for _, r := range rows {
		switch status := statusOf(r); {
		case status == statusDue:
			due = append(due, r)
		case status == statusBlocked, status == statusNotDue && r.StaleAt.MS <= uint64(now.UnixMilli()):
			kept++
		case status == statusNotDue && (!next.Known || r.StaleAt.MS < next.MS):
			next = r.StaleAt
		}
	}
	text, nothing := "", "Nothing is due"
	if kept > 0 {
		are := "are"
		if kept == 1 {
			are = "is"
		}
		text = fmt.Sprintf("%s %s due but kept; WHY says why. ", directories(kept), are)
		nothing = "Nothing else is due"
	}
	switch {
	case len(due) > 0:
		text += fmt.Sprintf("The next sweep removes %s, %s.", directories(len(due)), sumText(due))
	case next.Known:
		text += fmt.Sprintf("%s before %s (%s).", nothing, clockTime(int64(next.MS), now), relative(next, now))
	default:
		text += nothing + "."
	}
	return text
}

// sumText is the size of all rows together, as far as it is known.
func sumText(rows []prune.Row) string {
	sum, unknown := int64(0), 0
	for _, r := range rows {
		if r.Bytes == nil {
			unknown++
			continue
		}
		sum += *r.Bytes
	}
	switch {
	case unknown == len(rows):
		return "of unknown size"
	case unknown > 0:
		return "at least " + formatBytes(sum)
	}
	return formatBytes(sum)
}

func sizeText(bytes *int64) string {
	if bytes == nil {
		return "-"
	}
	return formatBytes(*bytes)
}

// formatBytes formats a number of bytes for people: "79 B", "1.3 MB". A kB is 1,000 bytes.
func formatBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	size, units := float64(n)/1000, []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	for size >= 999.95 && len(units) > 1 {
		size, units = size/1000, units[1:]
	}
	return fmt.Sprintf("%.1f %s", size, units[0])
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

func directories(n int) string {
	if n == 1 {
		return "1 directory"
	}
	return fmt.Sprintf("%d directories", n)
}

// byRemoval compares rows: what is removed next comes first, what is alive last.
func byRemoval(a, b prune.Row) int {
	return cmp.Or(
		cmp.Compare(statusOf(a), statusOf(b)),
		cmp.Compare(a.StaleAt.MS, b.StaleAt.MS),
		cmp.Compare(a.Name, b.Name),
	)
}
