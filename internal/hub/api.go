package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxListing = 32 << 20 // bytes of the API's answer
	maxFiles   = 1 << 16
	userAgent  = "lamina (https://github.com/lamina-llm/lamina)"
)

// list asks the hub for the files of a repository, with sizes and hashes.
// Their addresses are those of the commit that the revision stands for now, so
// that a push in between cannot mix two versions.
func (p *puller) list(ctx context.Context, ref Ref) ([]file, error) {
	address := p.endpoint.String() + "/api/models/" + ref.Repo + "/revision/" + url.PathEscape(ref.Revision) + "?blobs=true"
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			LFS  *struct {
				SHA256 string `json:"sha256"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	err := p.retry(ctx, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, p.Stall)
		defer cancel()
		resp, err := p.send(ctx, http.MethodGet, address, nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if err := statusError(resp); err != nil {
			return false, err
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
		if err != nil {
			return false, &temporary{err: err}
		}
		if len(data) > maxListing {
			return false, fmt.Errorf("%w: listing longer than %d bytes", ErrServer, maxListing)
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return false, fmt.Errorf("%w: listing: %w", ErrServer, err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	revision := ref.Revision
	if answer.SHA != "" && revisionForm.MatchString(answer.SHA) {
		revision = answer.SHA
	}
	if len(answer.Siblings) > maxFiles {
		return nil, fmt.Errorf("%w: %d files in the repository", ErrServer, len(answer.Siblings))
	}
	var files []file
	for _, s := range answer.Siblings {
		f := file{name: s.Name, size: -1}
		if s.Size != nil && *s.Size >= 0 {
			f.size = *s.Size
		}
		if s.LFS != nil {
			f.sha256 = cleanHash(s.LFS.SHA256)
		}
		f.url = p.endpoint.String() + "/" + ref.Repo + "/resolve/" + url.PathEscape(revision) + "/" + escapePath(f.name)
		files = append(files, f)
	}
	return files, nil
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, s := range parts {
		parts[i] = url.PathEscape(s)
	}
	return strings.Join(parts, "/")
}

// cleanHash returns a SHA-256 in lower-case hexadecimal, or "" if s is none.
// An ETag's quotes are taken off.
func cleanHash(s string) string {
	s = strings.ToLower(strings.Trim(s, `"`))
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// client returns a client that notes the hash which the hub announces when it
// redirects to its storage, takes the token to no other host (the standard
// library would, to another port or subdomain), and never falls back from https
// to http.
func (p *puller) client(base *http.Client) *http.Client {
	var c http.Client
	if base != nil {
		c = *base
	}
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return fmt.Errorf("%w: more than 10 redirects", ErrServer)
		}
		if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("%w: redirect from https to %s", ErrServer, req.URL.Scheme)
		}
		if req.URL.Host != p.endpoint.Host {
			req.Header.Del("Authorization")
		}
		if h := cleanHash(req.Response.Header.Get("X-Linked-Etag")); h != "" {
			p.linked = h
		}
		return nil
	}
	return &c
}

// announce asks for the size and hash of a file that no listing describes. A
// server that does not answer leaves them unknown: the download will tell.
func (p *puller) announce(ctx context.Context, f *file) {
	ctx, cancel := context.WithTimeout(ctx, p.Stall)
	defer cancel()
	resp, err := p.send(ctx, http.MethodHead, f.url, nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		f.size, f.sha256 = resp.ContentLength, p.linked
	}
}

// send sends a request. Failures of the network are temporary.
func (p *puller) send(ctx context.Context, method, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRef, err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", userAgent)
	// Compression in transit would make offsets and lengths meaningless.
	req.Header.Set("Accept-Encoding", "identity")
	if p.Token != "" && req.URL.Scheme == p.endpoint.Scheme && req.URL.Host == p.endpoint.Host {
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	p.linked = ""
	resp, err := p.Client.Do(req)
	if err != nil {
		return nil, &temporary{err: err}
	}
	if h := cleanHash(resp.Header.Get("X-Linked-Etag")); h != "" {
		p.linked = h
	}
	return resp, nil
}
