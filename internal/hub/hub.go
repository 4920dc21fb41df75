// Package hub downloads models: from a Hugging Face hub (or a mirror that
// speaks its API), or from a plain URL.
//
// A download resumes where it broke off, is compared with the SHA-256 that the
// hub gives, and appears under its name only when complete. Nothing is written
// outside the target directory: it is opened as an [os.Root].
//
// It does not look into what it downloads. [Pull] runs in the calling
// goroutine, one file after another; two of them must not share a directory.
//
// API: https://huggingface.co/docs/hub/api.
package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Errors, wrapped with the model, file and address they concern.
var (
	// ErrRef: the model reference or file name makes no sense.
	ErrRef = errors.New("invalid model reference")
	// ErrAuth: the server wants a token, or another one (401, 403).
	ErrAuth = errors.New("access denied (a gated or private model needs HF_TOKEN)")
	// ErrNotFound: no such repository, revision or file (404).
	ErrNotFound = errors.New("not found")
	// ErrNoModel: the repository has nothing that Lamina can read, or too much.
	ErrNoModel = errors.New("no single model to pull")
	// ErrMismatch: the file is not what the hub says it is.
	ErrMismatch = errors.New("download differs from what was announced")
	// ErrSpace: the disk has no room for it.
	ErrSpace = errors.New("not enough disk space")
	// ErrServer: the server kept failing, or answered nonsense.
	ErrServer = errors.New("server error")
)

// Ref says what to pull: a repository of the hub, or a URL.
type Ref struct {
	Repo     string // "org/name"; empty for a URL
	Revision string // branch, tag or commit; "main" unless given
	File     string // the one file wanted; empty is the whole model
	URL      string // of a file; empty for a repository
}

var (
	repoForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$`)
	revisionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$`)
)

// ParseRef reads "org/name[@revision][:file]", or an http or https URL.
func ParseRef(s string) (Ref, error) {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		u, err := url.Parse(s)
		if err != nil {
			return Ref{}, fmt.Errorf("hub: %w: %w", ErrRef, err)
		}
		if u.Host == "" || checkName(path.Base(u.Path)) != nil || strings.HasSuffix(u.Path, "/") {
			return Ref{}, fmt.Errorf("hub: %w: %q names no file", ErrRef, s)
		}
		return Ref{URL: s}, nil
	}
	rest, file, hasFile := strings.Cut(s, ":")
	repo, revision, hasRevision := strings.Cut(rest, "@")
	if !hasRevision {
		revision = "main"
	}
	switch {
	case !repoForm.MatchString(repo) || strings.Contains(repo, ".."):
		return Ref{}, fmt.Errorf("hub: %w: %q, want org/name[@revision][:file] or a URL", ErrRef, s)
	case !revisionForm.MatchString(revision) || strings.Contains(revision, ".."):
		return Ref{}, fmt.Errorf("hub: %w: revision %q", ErrRef, revision)
	}
	if hasFile {
		if err := checkName(file); err != nil {
			return Ref{}, fmt.Errorf("hub: %w", err)
		}
	}
	return Ref{Repo: repo, Revision: revision, File: file}, nil
}

// checkName refuses file names that could lead out of the target directory,
// or that clash with the names of unfinished downloads.
func checkName(name string) error {
	bad := !filepath.IsLocal(filepath.FromSlash(name)) || name == "." || path.Clean(name) != name || len(name) > 512 ||
		strings.ContainsAny(name, "\\:") || strings.HasSuffix(name, partSuffix) || strings.HasSuffix(name, etagSuffix)
	for _, r := range name {
		bad = bad || r < ' ' || r == 0x7f
	}
	if bad {
		return fmt.Errorf("%w: unsafe file name %q", ErrRef, name)
	}
	return nil
}

// Progress reports on one file of a download.
type Progress struct {
	File        string
	Index       int   // of the file, from 0
	Count       int   // files altogether
	Done, Total int64 // bytes of this file; Total is -1 if unknown
}

// Options change how Pull works; the zero value is fine.
type Options struct {
	Endpoint string                     // of the hub; HF_ENDPOINT, or https://huggingface.co
	Token    string                     // sent to the endpoint only; HF_TOKEN
	Client   *http.Client               // http.DefaultClient's transport unless given
	Progress func(Progress)             // called in the goroutine of Pull
	Retrying func(error, time.Duration) // called likewise before every pause: why, and how long; may be nil
	Attempts int                        // in a row without a byte of progress; 6
	Backoff  time.Duration              // before the first repetition, doubled each time; 1 s
	Stall    time.Duration              // without a byte before a connection is given up; 60 s
}

// puller is one run of Pull.
type puller struct {
	Options
	endpoint *url.URL
	root     *os.Root
	linked   string // SHA-256 that a redirect announced
}

// file is one thing to download.
type file struct {
	name   string // slash-separated, relative to the target directory
	url    string
	size   int64  // -1 if unknown
	sha256 string // "" if unknown
}

// Pull downloads what ref names into dir, which is made if need be, and returns
// the path to open: dir for a checkpoint of several files, else the file.
//
// Of a repository it takes the safetensors checkpoint with its configuration
// and tokenizer, or else the only .lamina or .gguf file there is. Files that
// are already there, with the size and hash announced, are not downloaded again.
func Pull(ctx context.Context, ref Ref, dir string, o Options) (string, error) {
	fail := func(err error) (string, error) { return "", ref.failed(err) }
	_, err := os.Lstat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	p, err := newPuller(dir, o)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if made {
			_ = os.Remove(dir) // which fails unless nothing came
		}
	}()
	defer p.root.Close()
	files, whole, err := p.resolve(ctx, ref)
	if err != nil {
		return fail(err)
	}
	if err := p.checkSpace(dir, files); err != nil {
		return fail(err)
	}
	for i, f := range files {
		report := func(done, total int64) {
			if p.Progress != nil {
				p.Progress(Progress{File: f.name, Index: i, Count: len(files), Done: done, Total: total})
			}
		}
		if err := p.fetch(ctx, dir, f, report); err != nil {
			return fail(fmt.Errorf("%s: %w", f.name, err))
		}
	}
	if whole {
		return dir, nil
	}
	return filepath.Join(dir, filepath.FromSlash(files[0].name)), nil
}

// failed names the model that an error is about.
func (r Ref) failed(err error) error { return fmt.Errorf("hub: %s: %w", cmp.Or(r.URL, r.Repo), err) }

// newPuller fills in the options and opens dir, which is made if need be.
func newPuller(dir string, o Options) (*puller, error) {
	o.Endpoint = cmp.Or(o.Endpoint, os.Getenv("HF_ENDPOINT"), "https://huggingface.co")
	o.Token = cmp.Or(o.Token, os.Getenv("HF_TOKEN"))
	o.Attempts = cmp.Or(o.Attempts, 6)
	o.Backoff = cmp.Or(o.Backoff, time.Second)
	o.Stall = cmp.Or(o.Stall, time.Minute)
	endpoint, err := url.Parse(strings.TrimRight(o.Endpoint, "/"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" {
		return nil, fmt.Errorf("%w: endpoint %q is no URL", ErrRef, o.Endpoint)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	p := &puller{Options: o, endpoint: endpoint, root: root}
	p.Client = p.client(o.Client)
	return p, nil
}

// resolve lists the files to download. whole says that they are one
// checkpoint, to be opened as a directory.
func (p *puller) resolve(ctx context.Context, ref Ref) (files []file, whole bool, err error) {
	if ref.URL != "" {
		u, err := url.Parse(ref.URL)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrRef, err)
		}
		name := path.Base(u.Path)
		if err := checkName(name); err != nil {
			return nil, false, err
		}
		f := file{name: name, url: ref.URL, size: -1}
		p.announce(ctx, &f)
		return []file{f}, false, nil
	}
	list, err := p.list(ctx, ref)
	if err != nil {
		return nil, false, err
	}
	files, whole, err = pick(list, ref.File)
	for _, f := range files {
		if err := checkName(f.name); err != nil {
			return nil, false, err
		}
	}
	return files, whole, err
}

// beside are the files that make weights a checkpoint.
var beside = map[string]bool{
	"config.json": true, "generation_config.json": true, "tokenizer.json": true, "tokenizer_config.json": true,
	"tokenizer.model": true, "chat_template.jinja": true, "chat_template.json": true,
}

var shardName = regexp.MustCompile(`^model-\d{5}-of-\d{5}\.safetensors$`)

// pick chooses what to download from all files of a repository.
func pick(list []file, asked string) (files []file, whole bool, err error) {
	const index, single = "model.safetensors.index.json", "model.safetensors"
	var names, lamina, gguf []string
	has := map[string]bool{}
	for _, f := range list {
		has[f.name] = true
		switch path.Ext(f.name) {
		case ".lamina":
			lamina = append(lamina, f.name)
		case ".gguf":
			gguf = append(gguf, f.name)
		}
	}
	want := func(name string) bool { return name == asked }
	switch {
	case asked != "":
		if !has[asked] {
			return nil, false, fmt.Errorf("%w: the repository has no file %q", ErrNotFound, asked)
		}
	case has[index]:
		want = func(name string) bool { return name == index || beside[name] || shardName.MatchString(name) }
		whole = true
	case has[single]:
		want = func(name string) bool { return name == single || beside[name] }
		whole = true
	default:
		names = lamina
		if len(names) == 0 {
			names = gguf
		}
		if len(names) != 1 {
			if len(names) == 0 {
				return nil, false, fmt.Errorf("%w: the repository has no .safetensors, .gguf or .lamina model", ErrNoModel)
			}
			return nil, false, fmt.Errorf("%w: say which, as in org/name:%s (there are %s)", ErrNoModel, names[0], strings.Join(names, ", "))
		}
		want = func(name string) bool { return name == names[0] }
	}
	for _, f := range list {
		if want(f.name) {
			files = append(files, f)
		}
	}
	return files, whole, nil
}

// checkSpace refuses a download that the disk cannot hold.
func (p *puller) checkSpace(dir string, files []file) error {
	var need int64
	for _, f := range files {
		need += max(f.size, 0)
		for _, name := range []string{f.name, f.name + partSuffix} {
			if st, err := p.root.Stat(name); err == nil {
				need -= min(st.Size(), max(f.size, 0))
				break
			}
		}
	}
	if free, ok := diskFree(dir); ok && need > free {
		return fmt.Errorf("%w: %d MB needed, %d MB free in %s", ErrSpace, need/1e6, free/1e6, dir)
	}
	return nil
}
