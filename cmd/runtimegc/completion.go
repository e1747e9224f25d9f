package main

// Shell completion.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"runtimegc/registry/daemondir"
)

// addCompletion adds cobra's command that prints completion scripts, and the completion of
// the flags that all commands have. An unknown shell is a usage error.
func addCompletion(root *cobra.Command, opts *options) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"log-format":    cobra.FixedCompletions(opts.logFormat.of, cobra.ShellCompDirectiveNoFileComp),
		"log-level":     cobra.FixedCompletions(opts.logLevel.of, cobra.ShellCompDirectiveNoFileComp),
		"shared-root":   cobra.FixedCompletions(opts.sharedRoot.of, cobra.ShellCompDirectiveNoFileComp),
		"stale-after":   cobra.NoFileCompletions,
		"invalid-after": cobra.NoFileCompletions,
		"root":          cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"protect": func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return daemonNames(cmd, opts, typed), cobra.ShellCompDirectiveNoFileComp
		},
	} {
		_ = root.RegisterFlagCompletionFunc(flag, complete) // fails only if there is no such flag
	}
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil || completion == root {
		return // cobra did not add one
	}
	completion.Use = "completion SHELL"
	completion.Short = "Print the completion script for a shell"
	completion.Long = `completion prints a script that makes the Tab key complete commands, flags, their values
and the names of daemons. The help of each shell says how to load it.`
	completion.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, "shell", args[0])
		}
		return nil
	}
	var shells []string
	for _, shell := range completion.Commands() {
		shell.Args = noArgs
		shell.Short = "Print the completion script for " + shell.Name()
		shells = append(shells, shell.Name())
		if shell.Name() == "bash" {
			shell.Long, shell.RunE = bashCompletionHelp, printBashCompletion
		}
	}
	completion.RunE = func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Help()
		return usageError{fmt.Errorf("a shell is required: %s", either(shells))}
	}
}

// bufferCompletion has what is printed for a shell written in few writes: cobra makes one for
// each word. flush must be called at the end.
func bufferCompletion(cmd *cobra.Command, args []string, stdout io.Writer) (flush func()) {
	if len(args) == 0 || args[0] != cobra.ShellCompRequestCmd && args[0] != cobra.ShellCompNoDescRequestCmd {
		return func() {}
	}
	out := bufio.NewWriterSize(stdout, outputSize)
	cmd.SetOut(out)
	return func() { _ = out.Flush() } // the shell has gone
}

// daemonNames returns the names in the roots that begin with what was typed, except those
// with control characters, which would garble the shell's line.
func daemonNames(cmd *cobra.Command, opts *options, typed string) []string {
	_ = fromEnvironment(cmd.Flags()) // an error is reported when the command runs
	var names []string
	roots := slices.Sorted(slices.Values(opts.roots.list))
	for _, root := range slices.Compact(roots) { // cobra parses --root more than once
		found, _ := daemondir.Within(answerTimeout, "names "+root, func() []string { return namesIn(root, typed) })
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names) // two roots may have the same
}

// namesIn returns those in one root. Without a root, there are none.
func namesIn(root, typed string) (names []string) {
	dir, err := daemondir.OpenList(root)
	if err != nil {
		return nil
	}
	defer dir.Close()
	for err == nil {
		var entries []os.DirEntry
		entries, err = dir.ReadDir(1024) // its error is io.EOF, or as good as the end
		for _, entry := range entries {
			if name := entry.Name(); strings.HasPrefix(name, typed) && entry.IsDir() && daemondir.Printable(name) == name {
				names = append(names, name)
			}
		}
	}
	return names
}

// oneOrMore completes the words of a list that is separated by commas: after "dead," with those
// that are not in it yet.
func oneOrMore(words []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		given := typed[:strings.LastIndexByte(typed, ',')+1]
		var lists []string
		for _, word := range words {
			if !slices.Contains(strings.Split(given, ","), word) {
				lists = append(lists, given+word)
			}
		}
		return lists, cobra.ShellCompDirectiveNoFileComp
	}
}

const bashCompletionHelp = `Print the completion script for bash. It needs nothing else, but works with the
bash-completion package if that is installed.

For this shell:

	source <(runtimegc completion bash)

For every new session, with the bash-completion package:

	mkdir -p ~/.local/share/bash-completion/completions
	runtimegc completion bash > ~/.local/share/bash-completion/completions/runtimegc

or without it, as also for the bash 3.2 of macOS:

	runtimegc completion bash > ~/.runtimegc-completion.bash
	echo 'source ~/.runtimegc-completion.bash' >> ~/.bashrc`

// cobra's script for bash calls two functions of the bash-completion package, which many
// systems do not have. The calls go to ours instead.
var withoutPackage = strings.NewReplacer(
	`    _get_comp_words_by_ref "$@" cur prev words cword`+"\n", "    __runtimegc_words\n",
	"_filedir", "__runtimegc_files",
	// A comma needs no backslash.
	"    __runtimegc_process_completion_results\n}", "    __runtimegc_process_completion_results\n    COMPREPLY=(${COMPREPLY[@]+\"${COMPREPLY[@]//\\\\,/,}\"})\n}",
)

// bashFunctions are what the script gets in their place. With the package they leave the work
// to it. They run in bash 3.2 as well, the bash of macOS.
const bashFunctions = `
# Set words and cword as _get_comp_words_by_ref -n =: does: COMP_WORDS up to the cursor, but with
# those put together again that bash has split at a = or a colon.
__runtimegc_words()
{
    local line=${COMP_LINE:0:COMP_POINT} rest i word glue=
    words=() cword=-1
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:space:]]*}"}
        [[ $rest == "$word"* ]] || word=$rest # the cursor is in it
        if [[ $i -gt 0 && $rest == "$line" && ( $glue || $word == [=:]* ) ]]; then
            words[cword]+=$word
        else
            words[++cword]=$word
        fi
        glue=
        [[ $word != *[=:] ]] || glue=yes
        line=${rest#"$word"}
    done
    cur=${words[cword]} prev=
    ((cword == 0)) || prev=${words[cword-1]}
}

# Complete the names of files, or with -d of directories.
__runtimegc_files()
{
    if declare -F _filedir >/dev/null 2>&1; then
        _filedir "$@"
        return
    fi
    local kind=-f name
    [[ ${1-} != -d ]] || kind=-d
    [[ $(type -t compopt) != builtin ]] || compopt -o filenames
    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen "$kind" -- "$cur")
}
`

func printBashCompletion(cmd *cobra.Command, _ []string) error {
	bare, err := cmd.Flags().GetBool("no-descriptions")
	if err != nil {
		return err
	}
	var script bytes.Buffer
	if err := cmd.Root().GenBashCompletionV2(&script, !bare); err != nil {
		return err
	}
	_, err = io.WriteString(cmd.OutOrStdout(), withoutPackage.Replace(script.String())+bashFunctions)
	return err
}
