package archtest

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestLinks follows the links of the documents within the repository, to files
// and to headings, as GitHub names these, and the names of documents in comments.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]+))?\)`)
	named := regexp.MustCompile(`\bdocs/[A-Z]+\.md\b`)
	docs, headings := map[string]string{}, map[string]map[string]bool{}
	err := walk(func(name string, data []byte) error {
		text := string(data)
		for _, doc := range named.FindAllString(text, -1) {
			if _, err := os.Stat(path.Join("../..", doc)); err != nil {
				t.Errorf("%s names %s, which is not there", name, doc)
			}
		}
		if path.Ext(name) == ".md" {
			docs[name], headings[name] = text, anchors(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			target := name
			if m[1] != "" {
				target = path.Join(path.Dir(name), m[1])
			}
			if _, err := os.Stat(path.Join("../..", target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if m[2] != "" && !headings[target][m[2]] {
				t.Errorf("%s links to %s#%s: no such heading", name, target, m[2])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d links found", found)
	}
}

// anchors returns the names that GitHub gives to the headings of a document.
func anchors(text string) map[string]bool {
	drop := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	names := map[string]bool{}
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if title := strings.TrimLeft(line, "#"); !code && title != line && strings.HasPrefix(title, " ") {
			name := drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			names[strings.ReplaceAll(name, " ", "-")] = true
		}
	}
	return names
}
