package main

import (
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/lamina-llm/lamina/internal/hub"
)

type pullCmd struct {
	Ref    string `arg:"" placeholder:"REF" help:"Repository of the hub, org/name[@revision][:file], or the URL of a file."`
	Output string `short:"o" placeholder:"DIR" help:"Folder to download into; default: a new one named after the model."`
	JSON   bool   `help:"Print the report as JSON."`
}

type pullReport struct {
	Ref  string `json:"ref"`
	Path string `json:"path"` // what to give to the other commands
	Next string `json:"next"` // the command that most people want now
}

// Help adds what a flag's line cannot say.
func (*pullCmd) Help() string {
	return "HF_ENDPOINT names a mirror of the hub, HF_TOKEN gives access to gated models. " +
		"An interrupted download goes on where it stopped when the command is repeated."
}

// Run downloads a model.
func (c *pullCmd) Run(a *app) error {
	ref, err := hub.ParseRef(c.Ref)
	if err != nil {
		return usageError{err, "pull"}
	}
	name := modelName(ref)
	dir := c.Output
	if dir == "" {
		dir = name
	}
	ctx, stop := a.untilSignal()
	defer stop()
	bar := a.reporter()
	defer bar.close()
	got, err := hub.Pull(ctx, ref, dir, hub.Options{Retrying: a.retrying, Progress: func(p hub.Progress) {
		bar.show(step{Phase: path.Base(p.File), Item: p.File, Done: p.Done, Total: p.Total, bytes: true})
	}})
	bar.close()
	if err != nil {
		return err
	}
	next := "lamina pack " + quoteArg(got) + " -o " + quoteArg(name+".lamina") + " --bits 3.5"
	if strings.HasSuffix(got, ".lamina") {
		next = "lamina run " + quoteArg(got)
	}
	if c.JSON {
		return a.json(pullReport{c.Ref, got, next})
	}
	a.printf("%s\nnext: %s\n", got, next)
	return nil
}

// retrying tells why a download waits.
func (a *app) retrying(err error, pause time.Duration) {
	a.log.Warn("download failed; trying again", "in", pause, "err", err)
}

// modelName names a model after its repository or file.
func modelName(ref hub.Ref) string {
	name := path.Base(ref.Repo)
	if ref.URL != "" {
		if u, err := url.Parse(ref.URL); err == nil {
			name = path.Base(u.Path)
		}
	}
	for _, ext := range []string{".gguf", ".lamina", ".safetensors"} {
		name = strings.TrimSuffix(name, ext)
	}
	return filepath.Base(name)
}

// quoteArg writes s so that a shell takes it as one word.
func quoteArg(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,~", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && s[0] != '~' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
