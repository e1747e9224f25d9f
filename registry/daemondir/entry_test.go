package daemondir

import (
	"regexp"
	"testing"
)

func TestSidecarName(t *testing.T) {
	for _, tt := range []struct {
		name, dir, want string
		quarantined     bool
	}{
		{"named after the dir", "web", "web.daemon.json", false},
		{"dots are part of the name", "web.1", "web.1.daemon.json", false},
		{"a quarantined dir keeps the name it had", ".pruned-web", "web.daemon.json", true},
		{"only one prefix is ours", ".pruned-.pruned-web", ".pruned-web.daemon.json", true},
		{"the prefix counts at the start only", "web.pruned-", "web.pruned-.daemon.json", false},
		{"a hidden dir", ".web", ".web.daemon.json", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := SidecarName(tt.dir); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if got := Quarantined(tt.dir); got != tt.quarantined {
				t.Errorf("quarantined: %v", got)
			}
		})
	}
}

// The codes stand in logs and tables: each problem has its own.
func TestProblemCodes(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := make(map[string]Problem)
	for p := ProblemNone; p <= ProblemIO; p++ {
		if other, ok := seen[p.String()]; ok {
			t.Errorf("%d and %d are both %q", other, p, p)
		}
		seen[p.String()] = p
		if p != ProblemNone && !code.MatchString(p.String()) {
			t.Errorf("%d is %q", p, p)
		}
	}
	if ProblemNone.String() != "" {
		t.Errorf("no problem is %q", ProblemNone)
	}
}
