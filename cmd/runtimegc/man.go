package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand is for those who package the program, and hidden from those who use it.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man [DIR]",
		Short:  "Print the man page, or write those of all commands into DIR",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%s takes one DIR at most, got %q as well", cmd.CommandPath(), args[1])}
			}
			return nil
		},
		Example: `  runtimegc man | man -l -
  runtimegc man /usr/local/share/man/man1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			// A tree of its own: the one that runs has what cobra adds to it by then.
			root := newRootCommand()
			if len(args) == 0 {
				return printMan(root, cmd.OutOrStdout())
			}
			prepareMan(root)
			if err := doc.GenManTree(root, manHeader(), args[0]); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			return nil
		},
	}
}

func manHeader() *doc.GenManHeader {
	return &doc.GenManHeader{Section: "1", Source: "runtimegc " + version(), Manual: "User Commands"}
}

func printMan(root *cobra.Command, w io.Writer) error {
	prepareMan(root)
	return doc.GenMan(root, manHeader(), w)
}

// prepareMan adds to the root's page what is of no command. cobra takes Long for
// Markdown, so a heading in it begins a section.
func prepareMan(root *cobra.Command) {
	root.DisableAutoGenTag = true
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		completion.Hidden = true // five pages on what its help says
	}
	// Not the home of who makes the page.
	root.PersistentFlags().Lookup("root").DefValue = "$XDG_DATA_HOME/running-process/runtime"
	var more strings.Builder
	more.WriteString(root.Long)
	more.WriteString("\n\n# REASONS\n")
	more.WriteString("The log, and --json of list and prune, give a code as the reason; list says it in words.\n")
	for _, group := range reasonGroups {
		fmt.Fprintf(&more, "\n%s:\n\n", group.title)
		for _, reason := range group.reasons {
			fmt.Fprintf(&more, "**%s**\n: %s\n\n", reason, reason.Words())
		}
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
: the root is $XDG_DATA_HOME/running-process/runtime, unless --root says otherwise; if it is empty or relative, ~/.local/share/running-process/runtime

**RUNTIMEGC_...**
: every flag, as in RUNTIMEGC_STALE_AFTER=12h; the command line comes first, then these, then daemon.toml

**NO_COLOR**, **TERM**
: no colours if NO_COLOR is not empty, or TERM is dumb

# FILES
**ROOT/NAME/NAME.daemon.json**
: the sidecar of the daemon NAME. Its spawned_at_unix_ms and last_seen_unix_ms are read; the latter is written

**ROOT/NAME/daemon.pid**
: the pid of its process

**ROOT/.pruned-NAME**
: its directory while it is being removed

**~/.config/running-process/daemon.toml**
: the daemon manager's configuration; its runtime_gc_stale_after_secs and runtime_gc_interval_secs are read
`)
	root.Long = more.String()
}
