package main

import (
	"embed"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"runtimegc/registry/daemondir"
)

//go:embed service
var serviceFiles embed.FS

// serviceKinds are the service managers that we have a file for. If a manager discards
// stderr, the file has --log-file.
var serviceKinds = []struct {
	kind, file string
	logs       bool // the manager keeps stderr in a log
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
	w := &watchOptions{options: opts}
	cmd := &cobra.Command{
		Use:   "service <" + strings.Join(kinds, "|") + ">",
		Short: "Print the file that makes watch a service",
		Long: `service prints a file for a service manager, which makes it run "runtimegc watch" with
the flags given here. The first lines of the file say how to install it. There is a
systemd unit for one user, a systemd unit for the system with one instance for each
user, a launchd agent, and a task for the Windows Task Scheduler.`,
		Example: `  runtimegc service systemd-user > ~/.config/systemd/user/runtimegc.service
  runtimegc service systemd-system --stale-after 24h > /etc/systemd/system/runtimegc@.service
  runtimegc service launchd > ~/Library/LaunchAgents/runtimegc.plist`,
		ValidArgs: kinds,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("service takes one argument: %s", either(kinds))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, k := range serviceKinds {
				if k.kind == args[0] {
					return printService(cmd, opts, k.file, k.logs)
				}
			}
			return usageError{fmt.Errorf("service %q must be %s%s", args[0], either(kinds), didYouMean(args[0], kinds))}
		},
	}
	w.addWatchFlags(cmd.Flags())
	return cmd
}

// printService prints one file. It ignores the environment, which the service will not have.
func printService(cmd *cobra.Command, o *options, file string, logs bool) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the path of this program: %w", err)
	}
	if isTemporary(program) {
		warn(cmd.ErrOrStderr(), daemondir.Printable(program)+" will not stay where it is; install it first, and use service of what is installed")
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
			return fmt.Errorf("choosing a log file (name one with --log-file): %w", err)
		}
		args = append(args, "--log-file="+filepath.Join(dir, "runtimegc.log"))
	}
	return writeService(cmd.OutOrStdout(), file, args)
}

// isTemporary reports whether a program lies where go run puts it, or in a directory for
// temporary files.
func isTemporary(program string) bool {
	if rel, err := filepath.Rel(os.TempDir(), program); err == nil && filepath.IsLocal(rel) {
		return true
	}
	return slices.ContainsFunc(strings.Split(filepath.ToSlash(program), "/"), func(dir string) bool {
		return strings.HasPrefix(dir, "go-build")
	})
}

func writeService(out io.Writer, file string, args []string) error {
	text, err := template.New(file).Funcs(template.FuncMap{"xml": escapeXML}).ParseFS(serviceFiles, "service/"+file)
	if err != nil {
		return err
	}
	var command, check, arguments []string
	for i, arg := range args {
		command = append(command, quoteSystemd(arg))
		if i == 1 {
			arg = "config"
		}
		check = append(check, quoteSystemd(arg))
	}
	for _, arg := range args[1:] {
		arguments = append(arguments, quoteWindows(arg))
	}
	return text.Execute(out, map[string]any{
		"Args": args, "Program": args[0],
		"Command":   strings.Join(command, " "),
		"Check":     strings.Join(check, " "),
		"Arguments": strings.Join(arguments, " "),
	})
}

// escapeXML escapes text for XML, in ASCII, because a shell may change the encoding when it
// redirects the output into a file.
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

// quoteSystemd quotes a word of ExecStart (systemd.service(5), systemd.syntax(7)): with C
// escapes, and with those characters doubled that systemd would expand.
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

// quoteWindows quotes an argument for the C runtime of a program: in double quotes, where a
// backslash must be escaped only before a quote.
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
