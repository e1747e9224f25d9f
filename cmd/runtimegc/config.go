package main

// Where a value comes from: the command line, else the environment, else daemon.toml,
// else the default.

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
)

// envPrefix begins the name of the environment variable of every flag.
const envPrefix = "RUNTIMEGC_"

// envName returns the environment variable of a flag: RUNTIMEGC_STALE_AFTER of
// --stale-after.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets every flag that is not on the command line and whose variable is
// not empty, as if it were given there. One that may be repeated has its values in one
// variable, separated as in $PATH. Variables of other commands' flags are not looked at.
func fromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		text := os.Getenv(name)
		// help and version are no settings, but other commands.
		if err != nil || f.Changed || text == "" || f.Name == "help" || f.Name == "version" {
			return
		}
		var refused error
		if list, ok := f.Value.(pflag.SliceValue); ok {
			refused = list.Replace(filepath.SplitList(text))
		} else {
			refused = f.Value.Set(text)
		}
		if refused != nil {
			err = usageError{fmt.Errorf("environment variable %s is %q: %w", name, text, refused)}
			return
		}
		f.Changed = true
	})
	return err
}

// defaultConfig returns the path of the daemon manager's own configuration, by its own
// rule; it is empty where there is no home:
//
//	Linux, other Unix  $XDG_CONFIG_HOME/running-process/daemon.toml, else ~/.config/...
//	macOS              ~/Library/Application Support/running-process/daemon.toml
//	Windows            %APPDATA%\running-process\daemon.toml
//
// As with the root, an empty variable or a relative $XDG_CONFIG_HOME counts as unset.
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

// A configFile is the daemon.toml of this run.
type configFile struct {
	path string // empty: none
	must bool   // it was asked for: that it is missing is an error
}

func newConfigFile(asked string) (configFile, error) {
	if asked == "" {
		home, _ := os.UserHomeDir() // none: no file
		return configFile{path: defaultConfig(runtime.GOOS, home, os.Getenv)}, nil
	}
	path, err := filepath.Abs(asked)
	if err != nil {
		return configFile{}, fmt.Errorf("resolving --config: %w", err)
	}
	return configFile{path: path, must: true}, nil
}

// The keys of daemon.toml that are ours.
const (
	intervalKey   = "runtime_gc_interval_secs"
	staleAfterKey = "runtime_gc_stale_after_secs"
)

// read returns what the file says of our times; zero is what it says nothing of. A
// deleter does not guess what was meant: anything wrong with the file is an error. That
// names the file, the line and the key, and nothing else of what the file holds, which
// may be secret; the parser's own message quotes what it stumbled over.
func (c configFile) read() (prune.Settings, error) {
	var s prune.Settings
	if c.path == "" {
		return s, nil
	}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) && !c.must {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading configuration: %w", err)
	}
	// A map and not a struct: its keys are matched to the letter, as the manager does.
	var file map[string]toml.Primitive
	meta, err := toml.Decode(string(text), &file)
	if err != nil {
		return s, c.fault(err, "no valid TOML")
	}
	for key, to := range map[string]*time.Duration{intervalKey: &s.SweepInterval, staleAfterKey: &s.StaleAfter} {
		value, ok := file[key]
		if !ok {
			continue
		}
		var secs seconds
		if err := meta.PrimitiveDecode(value, &secs); err != nil {
			return prune.Settings{}, c.fault(err, fmt.Sprintf("must be a whole number of seconds, from 1 to %d", maxSeconds))
		}
		*to = time.Duration(secs) * time.Second
	}
	return s, nil
}

// fault says where the file is wrong.
func (c configFile) fault(err error, what string) error {
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

// maxSeconds is what fits a time.Duration: 292 years.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// seconds is a time in daemon.toml.
type seconds int64

// UnmarshalTOML refuses all that is no usable time. The caller says what would be one.
func (s *seconds) UnmarshalTOML(value any) error {
	n, ok := value.(int64)
	if !ok || n < 1 || n > maxSeconds {
		return errors.New("not a number of seconds")
	}
	*s = seconds(n)
	return nil
}
