//go:build race

package integration

// raceEnabled: the binary under test is built as the tests are.
const raceEnabled = true
