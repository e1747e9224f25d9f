package main

// What looks like a setting and is none, because it is misspelt, or stands in the wrong place.
// It is named, but is no error: another version may know it, whose service shares the
// environment, and daemon.toml is the daemon manager's. Values are not shown.

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/registry/daemondir"
)

// An unknownSetting is an environment variable, or a key of daemon.toml, that sets nothing.
type unknownSetting struct {
	variable, key string // one of them is empty
	file          string // of the key
	hint          string // what may help; may be empty
}

// String returns a sentence, without the full stop.
func (u unknownSetting) String() string {
	what := "environment variable " + u.variable
	if u.key != "" {
		what = fmt.Sprintf("key %s in %s", u.key, u.file)
	}
	text := what + " is not a setting, and has no effect"
	if u.hint != "" {
		text += "; " + u.hint
	}
	return daemondir.Printable(text)
}

// logUnknown logs each of them as a warning.
func logUnknown(log zerolog.Logger, unknown []unknownSetting) {
	for _, u := range unknown {
		line := log.Warn().Str("event", "config.unknown")
		for _, field := range [][2]string{{"variable", u.variable}, {"key", u.key}, {"file", u.file}, {"hint", u.hint}} {
			if field[1] != "" {
				line = line.Str(field[0], daemondir.Printable(field[1]))
			}
		}
		line.Msg("this is not a setting, and has no effect")
	}
}

// variablesOfCobra are read by cobra, for completion.
var variablesOfCobra = []string{envPrefix + "ACTIVE_HELP", envPrefix + "COMPLETION_DESCRIPTIONS"}

// unknownVariables returns the variables of the environment that have our prefix, and are of
// no flag of any command below root. As for a flag, an empty variable counts as unset.
func unknownVariables(root *cobra.Command, environment []string) (unknown []unknownSetting) {
	known := variablesOf(root)
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if runtime.GOOS == "windows" {
			name = strings.ToUpper(name) // there, case does not matter
		}
		if !strings.HasPrefix(name, envPrefix) || value == "" || slices.Contains(known, name) || slices.Contains(variablesOfCobra, name) {
			continue
		}
		unknown = append(unknown, unknownSetting{variable: name, hint: hintOf(name, known)})
	}
	slices.SortFunc(unknown, func(a, b unknownSetting) int { return strings.Compare(a.variable, b.variable) })
	return unknown
}

// variablesOf returns the variables of all flags of cmd and of the commands below it.
func variablesOf(cmd *cobra.Command) (names []string) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "version" { // see fromEnvironment
				names = append(names, envName(f.Name))
			}
		})
	}
	for _, below := range cmd.Commands() {
		names = append(names, variablesOf(below)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unknownKeys returns the keys of a daemon.toml that look like ours, but are not: in other
// letters, or in a table, where a key lands that is appended to a file with tables.
func unknownKeys(file string, keys []toml.Key) (unknown []unknownSetting) {
	ours := []string{intervalKey, staleAfterKey, protectKey}
	for _, key := range keys {
		last := key[len(key)-1]
		spelt := strings.ReplaceAll(strings.ToLower(last), "-", "_")
		is := slices.Contains(ours, last)
		if !strings.HasPrefix(strings.ReplaceAll(spelt, "_", ""), "runtimegc") || is && len(key) == 1 {
			continue
		}
		u := unknownSetting{key: key.String(), file: file, hint: hintOf(spelt, ours)}
		if is {
			u.hint = "it is in a table; move it up, before the first table"
		}
		if !slices.Contains(unknown, u) { // in each of several tables of a list
			unknown = append(unknown, u)
		}
	}
	return unknown
}

// hintOf returns the suggestions of didYouMean, if there are any.
func hintOf(typed string, words []string) string {
	return strings.TrimPrefix(didYouMean(typed, words), "; ")
}
