package main

import (
	"bytes"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// helpOf is the text of a flag: kong names a default only where no placeholder
// stands in for it.
func helpOf(v *kong.Value) string {
	if v.HasDefault && v.Flag != nil && v.Flag.PlaceHolder != "" && !strings.Contains(v.Help, "default") {
		w := *v
		w.Help = strings.TrimSuffix(v.Help, ".") + "; default: " + v.Default + "."
		v = &w
	}
	return kong.DefaultHelpValueFormatter(v)
}

// printHelp is kong's help with a first line in which flags that exclude one
// another do not look as if all were needed.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	var b bytes.Buffer
	out := ctx.Stdout
	ctx.Stdout = &b
	err := kong.DefaultHelpPrinter(o, ctx)
	ctx.Stdout = out
	if err != nil {
		return err
	}
	text := b.Bytes()
	if n := ctx.Selected(); n != nil && slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return len(f.Xor) > 0 }) {
		_, rest, _ := bytes.Cut(text, []byte("\n"))
		text = append([]byte("Usage: lamina "+summary(n)+"\n"), rest...)
	}
	_, err = out.Write(text)
	return err
}

// summary is a command with its arguments and the flags that it needs.
func summary(n *kong.Node) string {
	words := []string{n.Path()}
	for _, p := range n.Positional {
		words = append(words, p.Summary())
	}
	var groups []string
	among := map[string][]string{}
	for _, f := range n.Flags {
		if !f.Required {
			continue
		}
		group := f.Name
		if len(f.Xor) > 0 {
			group = f.Xor[0]
		}
		if among[group] == nil {
			groups = append(groups, group)
		}
		among[group] = append(among[group], f.Summary())
	}
	for _, g := range groups {
		word := strings.Join(among[g], " | ")
		if len(among[g]) > 1 {
			word = "(" + word + ")"
		}
		words = append(words, word)
	}
	return strings.Join(append(words, "[flags]"), " ")
}
