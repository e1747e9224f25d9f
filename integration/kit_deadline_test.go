package integration

import (
	"testing"
	"time"
)

// patience is how long anything may take before a test gives up on it. It is long
// because machines are slow at times; nothing waits for it that works.
const patience = time.Minute

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
