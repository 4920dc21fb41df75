package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// server is a hub with one repository, org/m, and the storage that it
// redirects to for every file with an LFS hash. Ranges and validators are those
// of http.ServeContent.
type server struct {
	hub, store *httptest.Server
	mu         sync.Mutex
	files      map[string][]byte
	lfs        map[string]string // announced SHA-256
	size       map[string]int64  // announced size, where it lies
	requests   []*http.Request
	// before may answer a request for a file itself; n counts from 0.
	before func(w http.ResponseWriter, r *http.Request, name string, n int) bool
}

func newServer(t *testing.T) *server {
	s := &server{files: map[string][]byte{}, lfs: map[string]string{}, size: map[string]int64{}}
	s.hub = httptest.NewServer(http.HandlerFunc(s.serveHub))
	s.store = httptest.NewServer(http.HandlerFunc(s.serveStore))
	t.Cleanup(s.hub.Close)
	t.Cleanup(s.store.Close)
	return s
}

func random(n int) []byte {
	rng := rand.New(rand.NewPCG(3, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *server) add(name string, data []byte, lfs bool) {
	s.files[name] = data
	if lfs {
		s.lfs[name] = hash(data)
	}
}

func (s *server) serveHub(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.mu.Unlock()
	if r.URL.Path == "/api/models/org/m/revision/main" {
		if s.before != nil && s.before(w, r, "", 0) {
			return
		}
		var list []map[string]any
		for name, data := range s.files {
			e := map[string]any{"rfilename": name, "size": len(data)}
			if n, ok := s.size[name]; ok {
				e["size"] = n
			}
			if h, ok := s.lfs[name]; ok {
				e["lfs"] = map[string]any{"sha256": h}
			}
			list = append(list, e)
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/org/m/resolve/"+commit+"/")
	if h, isLFS := s.lfs[name]; ok && isLFS {
		w.Header().Set("X-Linked-Etag", `"`+h+`"`)
		http.Redirect(w, r, s.store.URL+"/"+name, http.StatusFound)
		return
	}
	s.serveFile(w, r, name)
}

func (s *server) serveStore(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.mu.Unlock()
	s.serveFile(w, r, strings.TrimPrefix(r.URL.Path, "/"))
}

func (s *server) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	data, ok := s.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if s.before != nil && s.before(w, r, name, s.count(name)-1) {
		return
	}
	w.Header().Set("Etag", `"`+hash(data)[:8]+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// count returns the GET requests for the content of a file so far.
func (s *server) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+name) && (s.lfs[name] == "" || !strings.Contains(r.URL.Path, "/resolve/")) {
			n++
		}
	}
	return n
}

// cut sends n bytes of what is asked for, under the full length, and breaks
// the connection.
func cut(w http.ResponseWriter, r *http.Request, data []byte, n int) {
	start := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
	}
	w.Header().Set("Etag", `"`+hash(data)[:8]+`"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-start))
	if start > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Write(data[start:min(start+n, len(data))])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func (s *server) options() Options {
	return Options{Endpoint: s.hub.URL, Token: "secret", Backoff: time.Millisecond, Attempts: 3, Stall: 10 * time.Second}
}

func repo(file string) Ref { return Ref{Repo: "org/m", Revision: "main", File: file} }

// contents reads a directory tree.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		m[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *server) expect(t *testing.T, dir string, names ...string) {
	t.Helper()
	got := contents(t, dir)
	if len(got) != len(names) {
		t.Errorf("%d files in the directory, want %d", len(got), len(names))
	}
	for _, name := range names {
		if !bytes.Equal(got[name], s.files[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestPullCheckpoint(t *testing.T) {
	s := newServer(t)
	want := []string{"config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
	for i, name := range want {
		s.add(name, random(1000+i), i >= 3)
	}
	for _, name := range []string{"README.md", "pytorch_model.bin", "onnx/model.onnx", "model.safetensors", "extra.gguf"} {
		s.add(name, random(10), false)
	}
	dir := filepath.Join(t.TempDir(), "new", "dir")
	var last Progress
	o := s.options()
	o.Progress = func(p Progress) { last = p }
	path, err := Pull(t.Context(), repo(""), dir, o)
	if err != nil || path != dir {
		t.Fatal(path, err)
	}
	s.expect(t, dir, want...)
	if last.Index != 4 || last.Count != 5 || last.Done != last.Total || last.Total < 1000 {
		t.Errorf("last progress %+v", last)
	}
	for _, r := range s.requests {
		if auth := r.Header.Get("Authorization"); (auth == "Bearer secret") != (r.Host == s.hub.Listener.Addr().String()) {
			t.Errorf("%s %s: authorization %q", r.Host, r.URL.Path, auth)
		}
	}
	// Again: the listing, and nothing else.
	s.requests = nil
	if _, err := Pull(t.Context(), repo(""), dir, s.options()); err != nil || len(s.requests) != 1 {
		t.Errorf("%d requests the second time, %v", len(s.requests), err)
	}
	// A file that rotted on the disk is fetched again.
	if err := os.WriteFile(filepath.Join(dir, want[4]), make([]byte, 1004), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(t.Context(), repo(""), dir, s.options()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, dir, want...)
}

func TestPullOneFile(t *testing.T) {
	s := newServer(t)
	s.add("sub/a b.gguf", random(500), true)
	s.add("config.json", random(5), false)
	for _, ref := range []Ref{repo("sub/a b.gguf"), repo("")} {
		dir := t.TempDir()
		path, err := Pull(t.Context(), ref, dir, s.options())
		if err != nil || path != filepath.Join(dir, "sub", "a b.gguf") {
			t.Fatal(path, err)
		}
		s.expect(t, dir, "sub/a b.gguf")
	}
}

// TestPeek looks at a checkpoint and at a .gguf file: no weight is sent.
func TestPeek(t *testing.T) {
	s := newServer(t)
	for i, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		s.add(name, random(1000+i), i == 1)
	}
	dir := t.TempDir()
	path, size, err := Peek(t.Context(), repo(""), dir, s.options())
	if err != nil || path != filepath.Join(dir, "config.json") || size != 3003 {
		t.Fatal(path, size, err)
	}
	s.expect(t, dir, "config.json")

	s = newServer(t)
	data := random(peekBytes + 5000)
	s.add("sub/m.gguf", data, true)
	dir = t.TempDir()
	path, size, err = Peek(t.Context(), repo(""), dir, s.options())
	if err != nil || path != filepath.Join(dir, "m.gguf") || size != int64(len(data)) {
		t.Fatal(path, size, err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:peekBytes], data[:peekBytes]) || !bytes.Equal(got[peekBytes:], make([]byte, 5000)) {
		t.Error("not the beginning of the file, and zeros")
	}
	for _, r := range s.requests {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".gguf") && r.Header.Get("Range") == "" {
			t.Error("the whole file was asked for")
		}
	}

	s = newServer(t)
	s.add("m.lamina", random(50), false)
	if _, _, err := Peek(t.Context(), repo(""), t.TempDir(), s.options()); !errors.Is(err, ErrNoModel) {
		t.Errorf("a packed file: %v", err)
	}
	s = newServer(t)
	s.add("model.safetensors", random(50), false)
	if _, _, err := Peek(t.Context(), repo(""), t.TempDir(), s.options()); !errors.Is(err, ErrNotFound) {
		t.Errorf("no configuration: %v", err)
	}
}

// Every connection breaks after some bytes; each attempt goes on from there.
func TestBrokenConnections(t *testing.T) {
	for _, lfs := range []bool{true, false} {
		s := newServer(t)
		data := random(100_000)
		s.add("m.gguf", data, lfs)
		s.before = func(w http.ResponseWriter, r *http.Request, name string, n int) bool {
			if name != "" && n < 9 {
				cut(w, r, data, 10_000)
			}
			return false
		}
		dir := t.TempDir()
		if _, err := Pull(t.Context(), repo(""), dir, s.options()); err != nil {
			t.Fatal(err)
		}
		s.expect(t, dir, "m.gguf")
		if n := s.count("m.gguf"); n != 10 {
			t.Errorf("%d requests, want 10", n)
		}
	}
}

func TestResumeAfterCancel(t *testing.T) {
	s := newServer(t)
	data := random(1 << 20)
	s.add("m.gguf", data, false)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	o := s.options()
	o.Progress = func(p Progress) {
		if p.Done > p.Total/2 {
			cancel()
		}
	}
	if _, err := Pull(ctx, repo(""), dir, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := contents(t, dir); got["m.gguf"] != nil || len(got["m.gguf.part"]) <= len(data)/2 {
		t.Fatalf("after the cancel: %d files", len(got))
	}
	first := int64(-1)
	o = s.options()
	o.Progress = func(p Progress) {
		if first < 0 {
			first = p.Done
		}
	}
	if _, err := Pull(t.Context(), repo(""), dir, o); err != nil {
		t.Fatal(err)
	}
	s.expect(t, dir, "m.gguf")
	if first <= int64(len(data))/2 {
		t.Errorf("went on from byte %d", first)
	}
}

// The file changes between two attempts: parts of two versions must not meet.
func TestChangedBetween(t *testing.T) {
	s := newServer(t)
	old, next := random(50_000), random(50_001)[1:]
	s.add("m.gguf", old, false)
	s.before = func(w http.ResponseWriter, r *http.Request, name string, n int) bool {
		if name != "" && n == 0 {
			s.files["m.gguf"] = next
			cut(w, r, old, 20_000)
		}
		return false
	}
	dir := t.TempDir()
	if _, err := Pull(t.Context(), repo(""), dir, s.options()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, dir, "m.gguf")
}

// A stale part without validator is found out by the hash and started over.
func TestRottenPart(t *testing.T) {
	s := newServer(t)
	s.add("m.gguf", random(5000), true)
	for _, n := range []int{100, 5000, 6000} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "m.gguf.part"), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Pull(t.Context(), repo(""), dir, s.options()); err != nil {
			t.Fatal(err)
		}
		s.expect(t, dir, "m.gguf")
	}
}

func TestFailures(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request, string, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, name string, _ int) bool {
			if name != "" {
				w.WriteHeader(code)
			}
			return name != ""
		}
	}
	for name, c := range map[string]struct {
		change   func(s *server)
		ref      Ref
		want     error
		requests int // for the file
	}{
		"wrong hash":     {func(s *server) { s.lfs["m.gguf"] = hash(nil) }, repo(""), ErrMismatch, 2},
		"wrong size":     {func(s *server) { s.size["m.gguf"] = 4000 }, repo(""), ErrMismatch, 1},
		"no room":        {func(s *server) { s.size["m.gguf"] = 1 << 60 }, repo(""), ErrSpace, 0},
		"401":            {func(s *server) { s.before = status(401) }, repo(""), ErrAuth, 1},
		"403":            {func(s *server) { s.before = status(403) }, repo(""), ErrAuth, 1},
		"404":            {func(s *server) { s.before = status(404) }, repo(""), ErrNotFound, 1},
		"500":            {func(s *server) { s.before = status(500) }, repo(""), ErrServer, 3},
		"400":            {func(s *server) { s.before = status(400) }, repo(""), ErrServer, 1},
		"no such file":   {func(*server) {}, repo("x.gguf"), ErrNotFound, 0},
		"no such repo":   {func(*server) {}, Ref{Repo: "org/none", Revision: "main"}, ErrNotFound, 0},
		"two models":     {func(s *server) { s.add("n.gguf", nil, false) }, repo(""), ErrNoModel, 0},
		"no model":       {func(s *server) { delete(s.files, "m.gguf") }, repo(""), ErrNoModel, 0},
		"path traversal": {func(s *server) { delete(s.files, "m.gguf"); s.add("../m.gguf", random(9), false) }, repo(""), ErrRef, 0},
		"listing 401": {func(s *server) {
			s.before = func(w http.ResponseWriter, _ *http.Request, _ string, _ int) bool { w.WriteHeader(401); return true }
		}, repo(""), ErrAuth, 0},
		"listing nonsense": {func(s *server) {
			s.before = func(w http.ResponseWriter, _ *http.Request, _ string, _ int) bool {
				w.Write([]byte("<html>"))
				return true
			}
		}, repo(""), ErrServer, 0},
		"endless": {func(s *server) {
			s.size["m.gguf"] = 100
			s.before = func(w http.ResponseWriter, _ *http.Request, name string, _ int) bool {
				if name == "" {
					return false
				}
				for range 100 {
					w.Write(make([]byte, 1000))
					w.(http.Flusher).Flush()
				}
				return true
			}
		}, repo(""), ErrMismatch, 1},
	} {
		s := newServer(t)
		s.add("m.gguf", random(5000), true)
		c.change(s)
		parent := t.TempDir()
		dir := filepath.Join(parent, "models")
		_, err := Pull(t.Context(), c.ref, dir, s.options())
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if n := s.count("m.gguf"); n != c.requests {
			t.Errorf("%s: %d requests, want %d", name, n, c.requests)
		}
		if left, err := os.ReadDir(dir); err == nil && len(left) == 0 {
			t.Errorf("%s: left an empty folder", name)
		}
		for file := range contents(t, parent) {
			if !strings.HasPrefix(file, "models/m.gguf.part") || c.want == ErrMismatch && name != "endless" {
				t.Errorf("%s: left %s", name, file)
			}
		}
	}
}

// A folder that was there stays, even if nothing comes.
func TestFolderStays(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	if _, err := Pull(t.Context(), Ref{Repo: "org/none", Revision: "main"}, dir, s.options()); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestTemporaryFailure(t *testing.T) {
	s := newServer(t)
	s.add("m.gguf", random(5000), true)
	s.before = func(w http.ResponseWriter, r *http.Request, name string, n int) bool {
		switch {
		case name != "" && n == 0:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		case name != "" && n == 1: // no data: the stall timer breaks this one
			w.Header().Set("Content-Length", "5000")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	}
	dir := t.TempDir()
	o := s.options()
	o.Stall = 200 * time.Millisecond
	told := 0
	o.Retrying = func(err error, _ time.Duration) {
		if told++; err == nil {
			t.Error("no reason")
		}
	}
	if _, err := Pull(t.Context(), repo(""), dir, o); err != nil {
		t.Fatal(err)
	}
	if told != 2 {
		t.Errorf("told of %d repetitions, want 2", told)
	}
	s.expect(t, dir, "m.gguf")
}

func TestPullURL(t *testing.T) {
	s := newServer(t)
	s.add("m.lamina", random(5000), true)
	s.add("plain.gguf", random(300), false)
	dir := t.TempDir()
	// A hub address redirects and announces the hash; the storage does neither.
	for _, u := range []string{s.hub.URL + "/org/m/resolve/" + commit + "/m.lamina?download=true", s.store.URL + "/plain.gguf"} {
		ref, err := ParseRef(u)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is there
			path, err := Pull(t.Context(), ref, dir, s.options())
			if err != nil || filepath.Dir(path) != dir {
				t.Fatal(path, err)
			}
		}
	}
	s.expect(t, dir, "m.lamina", "plain.gguf")
	if a, b := s.count("m.lamina"), s.count("plain.gguf"); a != 1 || b != 1 {
		t.Errorf("%d and %d downloads", a, b)
	}
	s.lfs["m.lamina"] = hash(nil)
	ref, _ := ParseRef(s.hub.URL + "/org/m/resolve/" + commit + "/m.lamina")
	if _, err := Pull(t.Context(), ref, t.TempDir(), s.options()); !errors.Is(err, ErrMismatch) {
		t.Errorf("error %v", err)
	}
}

// A symbolic link in the target directory leads nowhere outside.
func TestSymlink(t *testing.T) {
	s := newServer(t)
	s.add("m.gguf", random(50), true)
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "m.gguf.part")); err != nil {
		t.Skip(err)
	}
	if _, err := Pull(t.Context(), repo(""), dir, s.options()); err == nil {
		t.Error("no error")
	}
	if b, _ := os.ReadFile(outside); string(b) != "mine" {
		t.Errorf("the file outside became %q", b)
	}
}

func TestParseRef(t *testing.T) {
	for s, want := range map[string]Ref{
		"org/name":                       {Repo: "org/name", Revision: "main"},
		"gpt2":                           {Repo: "gpt2", Revision: "main"},
		"org/n.a-m_e@v1.0":               {Repo: "org/n.a-m_e", Revision: "v1.0"},
		"org/name@refs/pr/3:sub/m.gguf":  {Repo: "org/name", Revision: "refs/pr/3", File: "sub/m.gguf"},
		"org/name:m.gguf":                {Repo: "org/name", Revision: "main", File: "m.gguf"},
		"https://example.org/a/m.lamina": {URL: "https://example.org/a/m.lamina"},
	} {
		if got, err := ParseRef(s); err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "a/b/c", "../b", "a/..", "org/name@", "org/name@../x", "org/name:", "org/name:../m.gguf", "org/name:/etc/passwd",
		"org/name:a\\..\\b", "org/name:a/./b", "org/name:x.part", "org/name:a\nb", "https://example.org", "https://example.org/a/", "https:///a", "ftp://x/y", "org/na me"} {
		if got, err := ParseRef(s); !errors.Is(err, ErrRef) {
			t.Errorf("ParseRef(%q) = %+v, %v", s, got, err)
		}
	}
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		list  string
		want  string
		whole bool
	}{
		{"model.safetensors config.json x.gguf y.gguf model-00001-of-00001.safetensors", "model.safetensors config.json", true},
		{"a.lamina b.gguf c.gguf", "a.lamina", false},
	} {
		var list []file
		for _, name := range strings.Fields(c.list) {
			list = append(list, file{name: name})
		}
		files, whole, err := pick(list, "")
		var got []string
		for _, f := range files {
			got = append(got, f.name)
		}
		if err != nil || whole != c.whole || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("pick(%s) = %v, %v, %v", c.list, got, whole, err)
		}
	}
}
