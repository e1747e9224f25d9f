package main

import (
	"embed"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:embed service
var serviceFiles embed.FS

// serviceKinds are the service managers we have a file for. Where nobody reads stderr
// the log goes to a file.
var serviceKinds = []struct {
	kind, file string
	logs       bool // stderr goes to a log of the manager
}{
	{"systemd-user", "runtimegc.service", true},
	{"systemd-system", "runtimegc@.service", true},
	{"launchd", "runtimegc.plist", false},
	{"windows", "runtimegc.xml", false},
}

func newServiceCommand(opts *options) *cobra.Command {
	var kinds []string
	for _, k := range serviceKinds {
		kinds = append(kinds, k.kind)
	}
	return &cobra.Command{
		Use:   "service <" + strings.Join(kinds, "|") + ">",
		Short: "Print the file that makes watch a service",
		Long: `service prints the file by which a service manager starts this program's watch, and
in its first lines how to install it: a systemd unit for one user or, one instance a
user, for the system; a launchd agent; a task for the Windows Task Scheduler. The flags
given here go into it.`,
		Example: `  runtimegc service systemd-user > ~/.config/systemd/user/runtimegc.service
  runtimegc service systemd-system --stale-after 24h > /etc/systemd/system/runtimegc@.service
  runtimegc service launchd > ~/Library/LaunchAgents/runtimegc.plist`,
		ValidArgs: kinds,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("service takes one argument: %s", strings.Join(kinds, ", "))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, k := range serviceKinds {
				if k.kind == args[0] {
					return printService(cmd, opts, k.file, k.logs)
				}
			}
			return usageError{fmt.Errorf("service is %q, not one of %s", args[0], strings.Join(kinds, ", "))}
		},
	}
}

// printService prints one file. What the environment says now is not the service's.
func printService(cmd *cobra.Command, o *options, file string, logs bool) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	args := []string{program, "watch"}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			args = append(args, "--"+f.Name+"="+value)
		}
	})
	if !logs && o.logFile == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("choosing a place for the log (or name one with --log-file): %w", err)
		}
		args = append(args, "--log-file="+filepath.Join(dir, "runtimegc.log"))
	}
	return writeService(cmd.OutOrStdout(), file, args)
}

func writeService(out io.Writer, file string, args []string) error {
	text, err := template.New(file).Funcs(template.FuncMap{"xml": escapeXML}).ParseFS(serviceFiles, "service/"+file)
	if err != nil {
		return err
	}
	var command, arguments []string
	for _, arg := range args {
		command = append(command, quoteSystemd(arg))
	}
	for _, arg := range args[1:] {
		arguments = append(arguments, quoteWindows(arg))
	}
	return text.Execute(out, map[string]any{
		"Args": args, "Program": args[0],
		"Command":   strings.Join(command, " "),
		"Arguments": strings.Join(arguments, " "),
	})
}

// escapeXML writes text for XML, in ASCII, so that no encoding can spoil it on its way
// into a file.
func escapeXML(text string) (string, error) {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		return "", err
	}
	escaped := b.String()
	b.Reset()
	for _, r := range escaped {
		if r < 0x7f {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#x%X;", r)
		}
	}
	return b.String(), nil
}

// quoteSystemd writes a word of ExecStart (systemd.service(5), systemd.syntax(7)): in
// quotes, with C escapes, and what systemd would replace doubled.
func quoteSystemd(word string) string {
	var b strings.Builder
	for _, c := range []byte(word) {
		switch {
		case c == '%' || c == '$':
			b.WriteByte(c)
			b.WriteByte(c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	if quoted := b.String(); quoted != word || strings.ContainsAny(word, " ';") || word == "" {
		return `"` + quoted + `"`
	}
	return word
}

// quoteWindows writes an argument so that a program's C runtime reads it back: in
// quotes, where a backslash means itself but before a quote.
func quoteWindows(arg string) string {
	if arg != "" && !strings.ContainsAny(arg, " \t\"") {
		return arg
	}
	var b strings.Builder
	b.WriteByte('"')
	slashes := 0
	for _, c := range []byte(arg) {
		if c == '"' {
			b.WriteString(strings.Repeat(`\`, slashes+1))
		}
		slashes++
		if c != '\\' {
			slashes = 0
		}
		b.WriteByte(c)
	}
	b.WriteString(strings.Repeat(`\`, slashes) + `"`)
	return b.String()
}
