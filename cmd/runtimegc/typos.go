package main

// What a mistyped command, flag or word is answered with.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// didYouMean returns the words that differ from what was typed in a letter or two (but in less
// than half of it), or begin with it, as the end of an error; or nothing.
func didYouMean(typed string, words []string) string {
	// cobra compares names of commands.
	c := &cobra.Command{SuggestionsMinimumDistance: min(2, len(typed)/2)}
	for _, word := range words {
		c.AddCommand(&cobra.Command{Use: word, Run: func(*cobra.Command, []string) {}})
	}
	if near := c.SuggestionsFor(typed); len(near) > 0 && typed != "" {
		return fmt.Sprintf("; did you mean %s?", either(near))
	}
	return ""
}

// unknownCommand is the error for a word that is not the name of a command below cmd.
func unknownCommand(cmd *cobra.Command, what, typed string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return usageError{fmt.Errorf("unknown %s %q%s", what, typed, didYouMean(typed, names))}
}

// flagError is the error for the flags of cmd that were given.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		err = fmt.Errorf("%w%s", err, didYouMean("--"+unknown.GetSpecifiedName(), names))
	}
	return usageError{err}
}

// addHelp adds cobra's command that prints the help of others, but an unknown one is an error.
func addHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil || help == root {
		return // cobra did not add one
	}
	help.Use = "help [COMMAND]"
	help.Short = "Print the help of a command, or of a topic"
	help.Long = "help prints the help of a command, or of a topic: runtimegc help reasons."
	help.Run = nil
	help.RunE = func(cmd *cobra.Command, args []string) error {
		of, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return unknownCommand(of, "help topic", strings.Join(rest, " "))
		}
		return of.Help()
	}
}
