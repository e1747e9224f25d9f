package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/registry/daemondir"
)

// newConfigCommand makes the command that prints what a watch would go by.
func newConfigCommand(opts *options) *cobra.Command {
	w := &watchOptions{options: opts}
	asJSON := false
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings that are in effect, and where each comes from",
		Long: `config takes the flags of watch and prints each setting that a watch would have, and
where it comes from: the command line, the environment, daemon.toml, or the default. If
something is wrong, it says what, and its exit code is that of the watch. On stderr it
names what looks like a setting and is none: variables RUNTIMEGC_... that no command has,
and misspelt keys of daemon.toml. It changes nothing, and looks at no daemon.`,
		Example: `  runtimegc config
  RUNTIMEGC_STALE_AFTER=24h runtimegc config --protect 'db-*'
  runtimegc config --json | jq -r '."stale-after".value'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w.waits = true
			if err := w.settle(cmd); err != nil {
				return err
			}
			if err := refuseInRoot("the log file", w.logFile.String(), w.logFile.String(), w.roots.list); err != nil {
				return err
			}
			if err := checkTextfile(w.metrics.Textfile.String(), w.roots.list); err != nil {
				return err
			}
			for _, u := range w.unknown {
				warn(cmd.ErrOrStderr(), u.String())
			}
			all := w.settings()
			if asJSON {
				byName := make(map[string]setting, len(all))
				for _, s := range all {
					byName[s.name] = s
				}
				return printJSON(cmd.OutOrStdout(), byName)
			}
			return printSettings(cmd.OutOrStdout(), all)
		},
	}
	w.addWatchFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// A setting is the value that a flag has in effect.
type setting struct {
	name  string
	Value string `json:"value"`
	From  string `json:"from"`
}

// settings returns all settings of a watch, in the order of their names.
func (w *watchOptions) settings() (all []setting) {
	w.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" || f.Name == "json" {
			return
		}
		s := setting{f.Name, f.Value.String(), "default"}
		if f.Changed {
			s.From = "--" + f.Name
			if variable := f.Annotations[variableKey]; len(variable) > 0 {
				s.From = variable[0]
			}
		}
		inFile := func(key string) string { return fmt.Sprintf("%s in %s", key, w.file.path) }
		switch f.Name {
		case "stale-after":
			if s.Value = w.times.StaleAfter.String(); !f.Changed && w.settled.StaleAfter > 0 {
				s.From = inFile(staleAfterKey)
			}
		case "sweep-interval":
			if s.Value = w.times.SweepInterval.String(); !f.Changed && w.settled.SweepInterval > 0 {
				s.From = inFile(intervalKey)
			}
		case "protect":
			var from []string
			if f.Changed {
				from = append(from, s.From)
			}
			if len(w.settled.protect) > 0 {
				from = append(from, inFile(protectKey))
			}
			s.Value = strings.Join(w.protected, " ")
			if len(from) > 0 {
				s.From = strings.Join(from, " and ")
			}
		case "config":
			if s.Value = w.file.path; !w.file.exists() {
				s.From += ", but there is none"
			}
		}
		all = append(all, s)
	})
	slices.SortFunc(all, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	return all
}

// settingsDict returns for the log what config --json prints.
func settingsDict(all []setting) *zerolog.Event {
	dict := zerolog.Dict()
	for _, s := range all {
		dict = dict.Dict(s.name, zerolog.Dict().
			Str("value", daemondir.Printable(s.Value)).Str("from", daemondir.Printable(s.From)))
	}
	return dict
}

func printSettings(w io.Writer, all []setting) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, s := range all {
		value := daemondir.Printable(s.Value)
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.name, value, daemondir.Printable(s.From))
	}
	return t.Flush()
}
