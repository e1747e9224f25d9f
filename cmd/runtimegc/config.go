package main

// Where a value comes from: the command line, else the environment, else daemon.toml, else
// the default.

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// envPrefix begins the names of the environment variables.
const envPrefix = "RUNTIMEGC_"

// envName returns the environment variable of a flag: RUNTIMEGC_STALE_AFTER for stale-after.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets every flag that is not on the command line and whose variable is not
// empty. The variable of a flag that may be repeated holds a list, separated as in $PATH.
// Variables for flags of other commands are ignored; see also unknownVariables.
func fromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		text := os.Getenv(name)
		// help and version are not settings.
		if err != nil || f.Changed || text == "" || f.Name == "help" || f.Name == "version" {
			return
		}
		var invalid error
		if list, ok := f.Value.(pflag.SliceValue); ok {
			invalid = list.Replace(filepath.SplitList(text))
		} else {
			invalid = f.Value.Set(text)
		}
		if invalid != nil {
			err = usageError{fmt.Errorf("environment variable %s is %q: %w", name, text, invalid)}
			return
		}
		f.Changed = true
		err = flags.SetAnnotation(f.Name, variableKey, []string{name})
	})
	return err
}

// variableKey is the key of the annotation that names the variable which has set a flag.
const variableKey = "variable"

// defaultConfig returns the path of the daemon manager's configuration, or "" if there is no
// home directory:
//
//	Linux, other Unix  $XDG_CONFIG_HOME/running-process/daemon.toml, else ~/.config/...
//	macOS              ~/Library/Application Support/running-process/daemon.toml
//	Windows            %APPDATA%\running-process\daemon.toml
//
// As for the root, an empty variable or a relative $XDG_CONFIG_HOME counts as unset.
func defaultConfig(goos, home string, getenv func(string) string) string {
	dir := ""
	switch xdg := getenv("XDG_CONFIG_HOME"); {
	case goos == "windows":
		dir = getenv("APPDATA")
	case goos == "darwin" && home != "":
		dir = filepath.Join(home, "Library", "Application Support")
	case goos != "darwin" && strings.HasPrefix(xdg, "/"):
		dir = xdg
	case goos != "darwin" && home != "":
		dir = filepath.Join(home, ".config")
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "running-process", "daemon.toml")
}

// A configFile is the daemon.toml that this run reads.
type configFile struct {
	path string // empty: there is none
	must bool   // it was given by the user, so it is an error if it is missing
}

func newConfigFile(given string) (configFile, error) {
	if given == "" {
		return configFile{path: defaultConfig(runtime.GOOS, daemondir.Home(), os.Getenv)}, nil
	}
	path, err := filepath.Abs(given)
	if err != nil {
		return configFile{}, fmt.Errorf("resolving --config: %w", err)
	}
	return configFile{path: path, must: true}, nil
}

// The keys of daemon.toml that we read.
const (
	intervalKey   = "runtime_gc_interval_secs"
	staleAfterKey = "runtime_gc_stale_after_secs"
	protectKey    = "runtime_gc_protect"
)

// A fileConfig is what daemon.toml says.
type fileConfig struct {
	prune.Settings       // a missing one is zero
	protect        globs // besides those of --protect

	unknown []unknownSetting
}

// exists reports whether the file is there, as far as that can be told.
func (c configFile) exists() bool {
	_, err := daemondir.Stat(c.path)
	return c.path != "" && !errors.Is(err, fs.ErrNotExist)
}

// read returns what the file says. A program that deletes must not
// guess, so anything wrong with the file is an error. The error has only the name of the
// file, the line and the key: the file may hold secrets, and the parser's message quotes it.
func (c configFile) read() (fileConfig, error) {
	var s fileConfig
	if c.path == "" {
		return s, nil
	}
	var text []byte
	err, ok := daemondir.Within(answerTimeout, "read "+c.path, func() (err error) {
		text, err = os.ReadFile(c.path)
		return err
	})
	if !ok {
		return s, fmt.Errorf("reading configuration %q: %w", c.path, daemondir.ErrNoAnswer)
	}
	if errors.Is(err, fs.ErrNotExist) && !c.must {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading configuration: %w", err)
	}
	// A map, because the keys of a struct match in any case, and the manager's do not.
	var file map[string]toml.Primitive
	meta, err := toml.Decode(string(text), &file)
	if err != nil {
		return s, c.invalid(err, "not valid TOML")
	}
	s.unknown = unknownKeys(c.path, meta.Keys())
	for key, to := range map[string]*time.Duration{intervalKey: &s.SweepInterval, staleAfterKey: &s.StaleAfter} {
		value, ok := file[key]
		if !ok {
			continue
		}
		var secs seconds
		if err := meta.PrimitiveDecode(value, &secs); err != nil {
			return fileConfig{}, c.invalid(err, fmt.Sprintf("must be a whole number of seconds, from 1 to %d", maxSeconds))
		}
		*to = time.Duration(secs) * time.Second
	}
	if value, ok := file[protectKey]; ok {
		if err := meta.PrimitiveDecode(value, &s.protect); err != nil {
			return fileConfig{}, c.invalid(err, `must be a list of patterns for names, such as ["db-*"]`)
		}
	}
	return s, nil
}

// invalid returns an error that says where the file is wrong.
func (c configFile) invalid(err error, what string) error {
	var at toml.ParseError
	if !errors.As(err, &at) {
		return fmt.Errorf("reading configuration %q: %s", c.path, what)
	}
	key := ""
	if at.LastKey != "" {
		key = " key " + at.LastKey + ":"
	}
	return fmt.Errorf("reading configuration %q: line %d:%s %s", c.path, at.Position.Line, key, what)
}

// maxSeconds is the longest time.Duration in seconds: 292 years.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// seconds is a time in daemon.toml.
type seconds int64

// UnmarshalTOML refuses an unusable time. Its error is not shown; see read.
func (s *seconds) UnmarshalTOML(value any) error {
	n, ok := value.(int64)
	if !ok || n < 1 || n > maxSeconds {
		return errors.New("not a number of seconds")
	}
	*s = seconds(n)
	return nil
}
