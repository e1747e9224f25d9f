package watcher

import (
	"fmt"
	"testing"
	"time"
)

// simulate runs a schedule for so long, on a clock of its own, with looks that cost so much and
// find no change. It returns how many looks there were, and the longest time that one of the
// dirs was not looked at.
func simulate(p *polls, began time.Time, during, cost time.Duration) (looks int, longest time.Duration) {
	last := make(map[string]time.Time)
	now := began
	for end := began.Add(during); ; {
		next, ok := p.next()
		if !ok || next.After(end) {
			break
		}
		now = next
		n := 0
		for range p.batch() {
			one := p.due(now)
			if one == nil {
				break
			}
			if at, ok := last[one.name]; ok {
				longest = max(longest, now.Sub(at))
			}
			last[one.name] = now
			n++
			p.again(one, now)
		}
		p.spent(n, time.Duration(n)*cost, now)
		looks += n
	}
	for name := range p.byName {
		at, ok := last[name]
		if !ok {
			at = began
		}
		longest = max(longest, began.Add(during).Sub(at))
	}
	return looks, longest
}

// All looks together take 1% of a processor at most, and yet no dir waits for longer than the
// interval, or than that share demands.
func TestPollsTakeTheirShare(t *testing.T) {
	for _, test := range []struct {
		dirs    int
		cost    time.Duration
		longest time.Duration
	}{
		{1, lookCost, 1100 * time.Millisecond},
		{300, lookCost, 1100 * time.Millisecond},
		{10_000, lookCost, 22 * time.Second},
		{500, time.Millisecond, 110 * time.Second},
	} {
		t.Run(fmt.Sprint(test.dirs, " of ", test.cost), func(t *testing.T) {
			now := time.Now()
			p := newPolls(DefaultPollInterval)
			for i := range test.dirs {
				p.add(fmt.Sprint(i), now.Add(-24*time.Hour), now)
			}
			const during = 2 * time.Minute
			looks, longest := simulate(p, now, during, test.cost)
			if share := float64(looks) * float64(test.cost) / float64(during); share > 1.1/pollShare {
				t.Errorf("%d looks take %.4f of a processor", looks, share)
			}
			if longest > test.longest {
				t.Errorf("one is not looked at for %v, want at most %v", longest, test.longest)
			}
		})
	}
}

// A dir that is new is looked at at once and often, whatever many old ones there are, and even
// if these are overdue because looks have become dear.
func TestNewDirsArePolledFirst(t *testing.T) {
	now := time.Now()
	p := newPolls(DefaultPollInterval)
	for i := range 10_000 {
		p.add(fmt.Sprint(i), now.Add(-24*time.Hour), now)
	}
	simulate(p, now, 20*time.Second, lookCost)
	now = now.Add(20 * time.Second)
	p.add("new", now, now)
	looks, during := 0, 2*time.Second
	for end := now.Add(during); now.Before(end); {
		next, _ := p.next()
		now = next
		n := 0
		for range p.batch() {
			one := p.due(now)
			if one == nil {
				break
			}
			if n++; one.name == "new" {
				looks++
			}
			p.again(one, now)
		}
		p.spent(n, time.Duration(n)*5*lookCost, now)
	}
	if looks < 3 {
		t.Errorf("looked at %d times in %v", looks, during)
	}
	if age := p.byName["new"].due.Sub(now); age > during/2 {
		t.Errorf("looked at again in %v", age)
	}
}

// A dir that is new does not wait for looks at old ones to be made up for; and dirs that change
// again and again take no more than the share either, but for their credit.
func TestNewDirsHaveCredit(t *testing.T) {
	now := time.Now()
	p := newPolls(DefaultPollInterval)
	p.spent(1000, pollCredit/pollShare, now)
	p.add("old", now.Add(-24*time.Hour), now)
	p.add("new", now, now)
	if next, _ := p.next(); next.Sub(now) > firstPoll {
		t.Errorf("the first look is in %v", next.Sub(now))
	}
	if one := p.due(now.Add(firstPoll)); one == nil || one.name != "new" {
		t.Errorf("due is %v", one)
	}
	p.remove("new")
	if one := p.due(now.Add(pollCredit - pollCredit/8)); one != nil {
		t.Errorf("due is %v, which must wait", one)
	}

	for i := range 1000 {
		p.add(fmt.Sprint("new", i), now, now)
	}
	began, looks, old := now, 0, 0
	const during = time.Minute
	for end := began.Add(during); now.Before(end); {
		now, _ = p.next()
		n := 0
		for range p.batch() {
			one := p.due(now)
			if one == nil {
				break
			}
			if one.name == "old" {
				old++
			} else {
				one.changed = now
			}
			p.again(one, now)
			n++
		}
		p.spent(n, time.Duration(n)*lookCost, now)
		looks += n
	}
	if used, most := time.Duration(looks)*lookCost, (during+2*pollCredit)/pollShare; used > most {
		t.Errorf("%d looks took %v in %v, want %v at most", looks, used, during, most)
	}
	if old < 20 {
		t.Errorf("the old one was looked at %d times", old)
	}
}

// A file may claim to be written in the future.
func TestPollOfTheFuture(t *testing.T) {
	now := time.Now()
	p := newPolls(DefaultPollInterval)
	p.add("a", now.Add(time.Hour), now)
	if looks, _ := simulate(p, now, time.Minute, lookCost); looks > 70 {
		t.Errorf("looked at %d times in a minute", looks)
	}
}

// The pauses before a sidecar under a lease is read again double.
func TestBusyPolls(t *testing.T) {
	now := time.Now()
	p := newPolls(DefaultPollInterval)
	p.addBusy("a", now, now)
	var reads int
	for end := now.Add(10 * time.Second); now.Before(end); reads++ {
		next, ok := p.next()
		if !ok || !next.After(now) {
			t.Fatalf("the next read is in %v", next.Sub(now))
		}
		now = next
		one := p.due(now)
		if one == nil || one.busy == 0 {
			t.Fatalf("due is %+v", one)
		}
		p.addBusy("a", time.Time{}, now)
		if one.since.IsZero() {
			t.Fatal("nothing is known of the event")
		}
	}
	if reads > 25 {
		t.Errorf("%d reads in 10 s", reads)
	}
}
