package integration

import (
	"encoding/json"
	"testing"
	"time"
)

// sidecar is what spawn_daemon() writes of a daemon, in its order.
type sidecar struct {
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	Cwd       string            `json:"cwd"`
	Env       map[string]string `json:"env"`
	Extra     map[string]any    `json:"extra-s3cret-marker"`
	SpawnedAt int64             `json:"spawned_at_unix_ms,omitempty"`
	LastSeen  int64             `json:"last_seen_unix_ms,omitempty"`
}

// sidecarText returns the sidecar of a daemon that was spawned and last seen then. A
// zero time leaves the key out.
func sidecarText(t testing.TB, spawnedAt, lastSeen time.Time) []byte {
	t.Helper()
	s := sidecar{
		Command: "/bin/" + secret,
		Args:    []string{"--token", secret},
		Cwd:     "/srv/" + secret,
		Env:     map[string]string{"PATH": "/usr/bin:/bin", "API_KEY": secret, secret: "1"},
		Extra:   map[string]any{"nested": []any{secret, map[string]any{secret: 1.5}}},
	}
	if !spawnedAt.IsZero() {
		s.SpawnedAt = spawnedAt.UnixMilli()
	}
	if !lastSeen.IsZero() {
		s.LastSeen = lastSeen.UnixMilli()
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ago is so long before now.
func ago(d time.Duration) time.Time { return time.Now().Add(-d) }
