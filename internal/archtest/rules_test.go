package archtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// rule is one statement of a policy.
type rule struct {
	forbid      bool // !< instead of <
	left, right []string
}

// parse reads a policy.
func parse(text string) ([]rule, error) {
	var lines []string
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "#")
		lines = append(lines, strings.TrimSpace(code))
	}
	var rules []rule
	statements := strings.Split(strings.Join(lines, " "), ";")
	for _, s := range statements[:len(statements)-1] {
		var r rule
		left, right, ok := strings.Cut(s, "!<")
		if r.forbid = ok; !ok {
			left, right, ok = strings.Cut(s, "<")
		}
		r.left, r.right = names(left), names(right)
		if !ok || len(r.left) == 0 || len(r.right) == 0 || strings.ContainsAny(right, "<!") {
			return nil, fmt.Errorf("statement %q is not a < b or a !< b", strings.TrimSpace(s))
		}
		rules = append(rules, r)
	}
	if rest := strings.TrimSpace(statements[len(statements)-1]); rest != "" {
		return nil, fmt.Errorf("statement %q lacks its semicolon", rest)
	}
	return rules, nil
}

func names(list string) []string {
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// matches reports whether path is pattern, or below it if it ends in "/...".
func matches(pattern, path string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return path == base || deep && strings.HasPrefix(path, base+"/")
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// graph is who imports what: package to imported packages.
type graph map[string][]string

// reach returns what can be reached from p, p left out unless it is in a
// cycle, each with the package through which it was first found.
func (g graph) reach(p string) map[string]string {
	via := map[string]string{}
	queue := []string{p}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range g[at] {
			if _, seen := via[next]; !seen {
				via[next] = at
				queue = append(queue, next)
			}
		}
	}
	return via
}

// check returns the violations of rules in g, sorted. Packages on the right
// of a rule must exist. If free is nil, a package may import only what a rule
// allows; else also what free says, unless a rule names it. Forbidden imports
// are looked for through others as well.
func check(g graph, rules []rule, free func(path string) bool) []string {
	var bad []string
	for _, r := range rules {
		for _, p := range r.right {
			if p != "NONE" && !slices.ContainsFunc(slices.Collect(maps.Keys(g)), func(have string) bool { return matches(p, have) }) {
				bad = append(bad, fmt.Sprintf("the policy speaks of %s, which does not exist", p))
			}
		}
	}
	for p, imports := range g {
		if free == nil && !slices.ContainsFunc(rules, func(r rule) bool { return !r.forbid && matchesAny(r.right, p) }) {
			bad = append(bad, fmt.Sprintf("%s is not in the policy", p))
		}
		for _, q := range imports {
			named, allowed := false, false
			for _, r := range rules {
				if !r.forbid && matchesAny(r.left, q) {
					named = true
					allowed = allowed || matchesAny(r.right, p)
				}
			}
			if !allowed && (free == nil || named || !free(q)) {
				bad = append(bad, fmt.Sprintf("%s must not import %s", p, q))
			}
		}
		via := g.reach(p)
		for _, r := range rules {
			if !r.forbid || !matchesAny(r.right, p) {
				continue
			}
			for q, by := range via {
				if matchesAny(r.left, q) && !matchesAny(r.right, q) {
					bad = append(bad, fmt.Sprintf("%s must not import %s, which it does through %s", p, q, by))
				}
			}
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}

// The checker itself: each graph breaks exactly what its case says.
func TestCheck(t *testing.T) {
	const policy = `
		NONE < a, x/y; # a comment; it ends with the line
		a < b;
		a, b
		< c;
		x/... !< c;
	`
	good := graph{"a": nil, "x/y": nil, "b": {"a"}, "c": {"a", "b"}}
	for _, c := range []struct {
		name string
		edit func(g graph)
		free func(string) bool
		want []string
	}{
		{name: "sound", edit: func(graph) {}},
		{name: "upwards", edit: func(g graph) { g["a"] = []string{"b"} }, want: []string{"a must not import b"}},
		{name: "not listed", edit: func(g graph) { g["d"] = nil }, want: []string{"d is not in the policy"}},
		{name: "gone", edit: func(g graph) { delete(g, "x/y") }, want: []string{"the policy speaks of x/y, which does not exist"}},
		{name: "through another", edit: func(g graph) { g["b"] = []string{"a", "x/y"} },
			want: []string{"b must not import x/y", "c must not import x/y, which it does through b"}},
		{name: "free", edit: func(g graph) { g["b"] = []string{"free", "bound"} }, free: func(q string) bool { return q == "free" },
			want: []string{"b must not import bound"}},
		{name: "named, so not free", edit: func(g graph) { g["x/y"] = []string{"a"} }, free: func(string) bool { return true },
			want: []string{"x/y must not import a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := parse(policy)
			if err != nil {
				t.Fatal(err)
			}
			g := maps.Clone(good)
			c.edit(g)
			if got := check(g, rules, c.free); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for _, text := range []string{"a;", "a <;", "< a;", "a < b < c;", "a < b", "a !< b !< c;"} {
		if r, err := parse(text); err == nil {
			t.Errorf("policy %q was read as %v", text, r)
		}
	}
}
