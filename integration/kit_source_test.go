package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// module is the module's directory, seen from this package's.
const module = ".."

// needSources skips a test where a prebuilt test binary runs without the sources.
func needSources(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(module, "go.mod")); err != nil {
		t.Skip("the sources are not here")
	}
}
