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
	at     time.Time // as of when its dirs are judged
	states []string  // only these are shown; empty: all
	sizes  bool      // with the column SIZE
	note   string    // for the end; empty, or whole lines

	rows   []tableRow // those that are shown
	counts counts
}

// A tableRow is what the table shows of one dir. There may be 300,000 of them, so it holds no
// more than that.
type tableRow struct {
	name, why                    string
	pid                          daemondir.PID
	state                        prune.State
	status                       status
	startedAt, lastSeen, staleAt daemondir.Timestamp
	bytes                        *int64
}

// counts are what the lines below the table say of all dirs.
type counts struct {
	states map[prune.State]int
	all    sizes
	due    sizes
	kept   int                 // due, but something keeps them
	next   daemondir.Timestamp // when the next one is due, of those that are not yet
}

// sizes are those of some dirs.
type sizes struct {
	dirs, unknown int
	bytes         int64 // as far as they are known
}

func (s *sizes) add(bytes *int64) {
	s.dirs++
	if bytes == nil {
		s.unknown++
		return
	}
	s.bytes += *bytes
}

// add adds a dir. Its row is kept only if it is shown.
func (l *listing) add(r prune.Row) {
	row := tableRow{
		name: r.Name, why: why(r), pid: r.PID, state: r.State, status: statusOf(r),
		startedAt: r.StartedAt, lastSeen: r.LastSeen, staleAt: r.StaleAt, bytes: r.Bytes,
	}
	l.counts.add(row, l.at)
	if shows(l.states, r.State) {
		l.rows = append(l.rows, row)
	}
}

// shows reports whether states, or all if it is empty, have state.
func shows(states []string, state prune.State) bool {
	return len(states) == 0 || slices.Contains(states, string(state))
}

func (c *counts) add(r tableRow, at time.Time) {
	if c.states == nil {
		c.states = make(map[prune.State]int)
	}
	c.states[r.state]++
	c.all.add(r.bytes)
	switch {
	case r.status == statusDue:
		c.due.add(r.bytes)
	case r.status == statusBlocked, r.kept(at):
		c.kept++
	case r.status == statusNotDue && (!c.next.Known || r.staleAt.MS < c.next.MS):
		c.next = r.staleAt
	}
}

// kept reports whether a dir whose daemon has been dead for long enough is kept by a file in it
// that was written later.
func (r tableRow) kept(at time.Time) bool {
	return r.status == statusNotDue && r.staleAt.MS <= uint64(at.UnixMilli())
}

// A column of the table.
type column struct {
	title string
	text  func(tableRow) string
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

// print prints the table and the lines below it, at most width columns wide; 0 is no limit. It
// sorts the rows.
func (l *listing) print(w io.Writer, now time.Time, width int, color bool) error {
	out := bufio.NewWriterSize(w, outputSize)
	switch {
	case l.counts.all.dirs == 0:
		fmt.Fprintf(out, "There are no daemons in %s.\n", daemondir.Printable(l.root))
	case len(l.rows) == 0:
		fmt.Fprintf(out, "No daemon is %s.\n", either(l.states))
	default:
		slices.SortFunc(l.rows, byRemoval)
		printTable(out, fit(l.columns(now), width), l.rows, color)
	}
	below := l.note
	if l.counts.all.dirs > 0 {
		below = fmt.Sprintf("\n%s\n%s\n%s", l.counts.totalLine(l.sizes), l.counts.nextLine(l.at), l.note)
	}
	for line := range strings.Lines(below) {
		for _, part := range wrap(strings.TrimSuffix(line, "\n"), cmp.Or(width, len(line))) {
			out.WriteString(part + "\n")
		}
	}
	return out.Flush() // it returns the first error of all
}

// columns returns all columns.
func (l *listing) columns(now time.Time) []column {
	all := []column{
		{title: "NAME", text: func(r tableRow) string { return daemondir.Printable(r.name) }},
		{title: "STATE", text: func(r tableRow) string { return string(r.state) }},
		{title: "PID", text: func(r tableRow) string { return pidText(r.pid) }},
		{title: "UP SINCE", text: func(r tableRow) string { return upSince(r.startedAt, now) }},
		{title: "LAST SEEN", text: func(r tableRow) string { return relative(r.lastSeen, now) }},
		{title: "REMOVED IN", text: func(r tableRow) string { return r.removedIn(l.at) }},
	}
	if l.sizes {
		all = append(all, column{title: "SIZE", text: func(r tableRow) string { return sizeText(r.bytes) }})
	}
	all = append(all, column{title: "WHY", text: func(r tableRow) string { return r.why }})
	for i := range all {
		c := &all[i]
		c.width = len(c.title)
		for _, r := range l.rows {
			c.width = max(c.width, runewidth.StringWidth(c.text(r)))
		}
	}
	return all
}

// removedIn writes the time until the directory is removed.
func (r tableRow) removedIn(at time.Time) string {
	switch r.status {
	case statusDue:
		return "now"
	case statusBlocked:
		return "kept"
	case statusNotDue:
		if r.kept(at) {
			return "kept"
		}
		return strings.TrimPrefix(relative(r.staleAt, at), "in ")
	case statusNever, statusInvalid:
		return "never"
	}
	return "-"
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
func printTable(out *bufio.Writer, columns []column, rows []tableRow, color bool) {
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
			out.WriteString(paint(color && c.title == "STATE", r.state, text))
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

// totalLine says how many daemons there are.
func (c *counts) totalLine(sizes bool) string {
	var parts []string
	for _, state := range []prune.State{prune.Alive, prune.Dead, prune.Unknown, prune.Invalid} {
		if n := c.states[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	total := plural(c.all.dirs, "daemon")
	if sizes {
		total += ", " + c.all.String()
	}
	return total + ": " + strings.Join(parts, ", ") + "."
}

// nextLine says what the next sweep will do, or when there is something to do.
func (c *counts) nextLine(at time.Time) string {
	text, nothing := "", "Nothing is due"
	if c.kept > 0 {
		are := "are"
		if c.kept == 1 {
			are = "is"
		}
		text = fmt.Sprintf("%s %s due but kept; WHY says why. ", directories(c.kept), are)
		nothing = "Nothing else is due"
	}
	switch {
	case c.due.dirs > 0:
		text += fmt.Sprintf("The next sweep removes %s, %s.", directories(c.due.dirs), c.due)
	case c.next.Known:
		text += fmt.Sprintf("%s before %s (%s).", nothing, clockTime(int64(c.next.MS), at), relative(c.next, at))
	default:
		text += nothing + "."
	}
	return text
}

func (s sizes) String() string {
	switch {
	case s.unknown == s.dirs:
		return "of unknown size"
	case s.unknown > 0:
		return "at least " + formatBytes(s.bytes)
	}
	return formatBytes(s.bytes)
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
func byRemoval(a, b tableRow) int {
	return cmp.Or(
		cmp.Compare(a.status, b.status),
		cmp.Compare(a.staleAt.MS, b.staleAt.MS),
		cmp.Compare(a.name, b.name),
	)
}
