//go:build man

package main

// "go run -tags man ./cmd/runtimegc man DIR" makes the man pages. The shipped program does
// not contain the generator, which would add 0.7 MB to it.

import (
	"fmt"
	"strings"

	"runtimegc/prune"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func addMan(to *cobra.Command) {
	to.AddCommand(&cobra.Command{
		Use:    "man [DIR]",
		Short:  "Print the man page, or write those of all commands into DIR",
		Hidden: true,
		Args:   atMostOne("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A new tree, because cobra has added commands to the one that is running.
			root := newRootCommand(newOptions())
			prepareMan(root)
			header := &doc.GenManHeader{Section: "1", Source: "runtimegc " + version(), Manual: "User Commands"}
			if len(args) == 0 {
				return doc.GenMan(root, header, cmd.OutOrStdout())
			}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			return nil
		},
	})
}

// prepareMan adds sections to the page of the root command. cobra treats Long as Markdown, so
// a heading in it begins a section.
func prepareMan(root *cobra.Command) {
	root.DisableAutoGenTag = true
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		completion.Hidden = true // no five more pages; its help says the same
	}
	// The default must not show the home directory of the user who makes the page.
	root.PersistentFlags().Lookup("root").DefValue = "$XDG_DATA_HOME/running-process/runtime"
	var more strings.Builder
	more.WriteString(root.Long)
	more.WriteString("\n\n# REASONS\n" + reasonsIntro)
	group := ""
	for _, info := range prune.Reasons() {
		if info.Group != group {
			group = info.Group
			fmt.Fprintf(&more, "\n%s:\n\n", group)
		}
		fmt.Fprintf(&more, "**%s**\n: %s\n\n", info.Reason, info.Words)
	}
	more.WriteString(`
# EXIT STATUS
**0**
: done

**1**
: failed; the last line on the standard error, in plain text, says why

**2**
: wrong usage

# ENVIRONMENT
**XDG_DATA_HOME**
: the default of --root is $XDG_DATA_HOME/running-process/runtime, or ~/.local/share/running-process/runtime if the variable is empty or relative

**RUNTIMEGC_...**
: every flag, as in RUNTIMEGC_STALE_AFTER=12h; a variable overrides daemon.toml, and the command line overrides both

**JOURNAL_STREAM**
: set by systemd; if it names the standard error, each line of the log begins with its priority, as in sd-daemon(3)

**NO_COLOR**, **TERM**
: there are no colours if NO_COLOR is not empty, or if TERM is dumb

# FILES
**ROOT/NAME/NAME.daemon.json**
: the sidecar of the daemon NAME. Its spawned_at_unix_ms and last_seen_unix_ms are read; only last_seen_unix_ms is written

**ROOT/NAME/daemon.pid**
: the pid of its process

**ROOT/.pruned-NAME**
: its directory while it is being removed

**~/.config/running-process/daemon.toml**
: the daemon manager's configuration; its runtime_gc_stale_after_secs, runtime_gc_interval_secs and runtime_gc_protect are read
`)
	root.Long = more.String()
}
