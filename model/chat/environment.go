package chat

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// What templates may use of gonja's built-ins. The rest (random, file sizes,
// HTML, padding to any width, regular expressions) has no place in a prompt or
// could make a short template use much memory.
var (
	allowedFilters = strings.Fields(`abs attr capitalize count d default dictsort e escape first float groupby int
		items join last length list lower map max min reject rejectattr reverse round safe select
		selectattr sort string sum title unique upper`)
	allowedTests = strings.Fields(`boolean callable defined divisibleby eq equalto == even false filter float ge >= gt greaterthan >
		in integer iterable le <= lower lt lessthan < mapping ne != none number odd sameas sequence string test
		true undefined upper`)
	allowedStructures = strings.Fields(`for if macro break continue with filter call do`)
	allowedMethods    = strings.Fields(`capitalize count endswith find isalnum isalpha isascii isdecimal isdigit islower
		isnumeric isspace istitle isupper lower partition removeprefix removesuffix rfind rpartition rsplit split
		splitlines startswith swapcase title upper`)
)

// environment returns what a template can call. Every template has its own, so
// none shares locks with another.
func environment() *exec.Environment {
	filters := map[string]exec.FilterFunction{
		"tojson": toJSON, "trim": trimFilter, "replace": replaceFilter, "indent": indentFilter,
	}
	for _, n := range allowedFilters {
		if f, ok := builtins.Filters.Get(n); ok {
			filters[n] = f
		}
	}
	tests := map[string]exec.TestFunction{}
	for _, n := range allowedTests {
		if f, ok := builtins.Tests.Get(n); ok {
			tests[n] = f
		}
	}
	structures := map[string]parser.ControlStructureParser{"set": parseSet, "generation": parseGeneration}
	for _, n := range allowedStructures {
		if f, ok := builtins.ControlStructures.Get(n); ok {
			structures[n] = guarded(f)
		}
	}
	str := map[string]exec.Method[string]{
		"strip":   stripMethod(strings.TrimFunc, strings.Trim),
		"lstrip":  stripMethod(strings.TrimLeftFunc, strings.TrimLeft),
		"rstrip":  stripMethod(strings.TrimRightFunc, strings.TrimRight),
		"replace": replaceMethod, "join": joinMethod,
	}
	for _, n := range allowedMethods {
		if m, ok := builtins.Methods.Str.Get(n); ok {
			str[n] = m
		}
	}
	globals := exec.NewContext(map[string]any{"range": rangeFunction})
	for _, n := range []string{"namespace", "dict"} {
		if f, ok := builtins.GlobalFunctions.Get(n); ok {
			globals.Set(n, f)
		}
	}
	return &exec.Environment{
		Context: globals, Filters: exec.NewFilterSet(filters), Tests: exec.NewTestSet(tests),
		ControlStructures: exec.NewControlStructureSet(structures),
		Methods: exec.Methods{
			Str: exec.NewMethodSet(str), Dict: exec.NewMethodSet(dictMethods),
			Bool:  exec.NewMethodSet(map[string]exec.Method[bool]{}),
			Int:   exec.NewMethodSet(map[string]exec.Method[int]{}),
			Float: exec.NewMethodSet(map[string]exec.Method[float64]{}),
			List:  exec.NewMethodSet(map[string]exec.Method[[]any]{}),
		},
	}
}

// dictMethods work on the value itself, since the map that gonja passes has
// lost the order of its keys.
var dictMethods = map[string]exec.Method[map[string]any]{
	"keys": func(_ map[string]any, v *exec.Value, _ *exec.VarArgs) (any, error) { return v.Keys(), nil },
	"values": func(_ map[string]any, v *exec.Value, _ *exec.VarArgs) (any, error) {
		items := list{}
		v.Iterate(func(_, _ int, _, item *exec.Value) bool { items = append(items, item); return true }, func() {})
		return items, nil
	},
	"items": func(_ map[string]any, v *exec.Value, _ *exec.VarArgs) (any, error) {
		items := list{}
		v.Iterate(func(_, _ int, k, item *exec.Value) bool { items = append(items, list{k, item}); return true }, func() {})
		return items, nil
	},
	"get": func(_ map[string]any, v *exec.Value, p *exec.VarArgs) (any, error) {
		if len(p.Args) < 1 || len(p.Args) > 2 {
			return nil, errors.New("get() takes a key and a default")
		}
		if item, ok := v.GetItem(p.Args[0].Interface()); ok {
			return item.Interface(), nil
		}
		if len(p.Args) == 2 {
			return p.Args[1].Interface(), nil
		}
		return nil, nil
	},
}

// isSpace is Python's str.isspace, which knows four separators more than Unicode.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func trimFilter(_ *exec.Evaluator, in *exec.Value, p *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	if len(p.Args) > 0 {
		return exec.AsValue(strings.Trim(in.String(), p.Args[0].String()))
	}
	return exec.AsValue(strings.TrimFunc(in.String(), isSpace))
}

func stripMethod(space func(string, func(rune) bool) string, cut func(s, set string) string) exec.Method[string] {
	return func(s string, _ *exec.Value, p *exec.VarArgs) (any, error) {
		if len(p.Args) == 0 || p.Args[0].IsNil() {
			return space(s, isSpace), nil
		}
		return cut(s, p.Args[0].String()), nil
	}
}

// replace is str.replace with a bound on the result.
func replace(s string, args []*exec.Value) (string, error) {
	if len(args) < 2 || len(args) > 3 {
		return "", errors.New("replace takes the old text, the new one and a count")
	}
	old, with, n := args[0].String(), args[1].String(), -1
	if len(args) == 3 {
		n = args[2].Integer()
	}
	hits := strings.Count(s, old)
	if n >= 0 {
		hits = min(hits, n)
	}
	if len(s)+hits*len(with) > maxText {
		return "", fmt.Errorf("replace: %w", ErrLimit)
	}
	return strings.Replace(s, old, with, n), nil
}

func replaceMethod(s string, _ *exec.Value, p *exec.VarArgs) (any, error) { return replace(s, p.Args) }

func replaceFilter(_ *exec.Evaluator, in *exec.Value, p *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	s, err := replace(in.String(), p.Args)
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(s)
}

func joinMethod(sep string, _ *exec.Value, p *exec.VarArgs) (any, error) {
	if len(p.Args) != 1 {
		return nil, errors.New("join() takes a list")
	}
	var parts []string
	p.Args[0].Iterate(func(_, _ int, item, _ *exec.Value) bool { parts = append(parts, item.String()); return true }, func() {})
	return strings.Join(parts, sep), nil
}

// indentFilter is Jinja's indent(width=4, first=false, blank=false).
func indentFilter(_ *exec.Evaluator, in *exec.Value, p *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	arg := func(i int, name string, def any) *exec.Value {
		if i < len(p.Args) {
			return p.Args[i]
		}
		return p.GetKeywordArgument(name, def)
	}
	width, first, blank := arg(0, "width", 4), arg(1, "first", false).IsTrue(), arg(2, "blank", false).IsTrue()
	pad := width.String()
	if width.IsInteger() {
		pad = strings.Repeat(" ", min(max(width.Integer(), 0), maxNesting))
	}
	lines := strings.Split(in.String(), "\n")
	if len(lines)*len(pad) > maxText {
		return exec.AsValue(fmt.Errorf("indent: %w", ErrLimit))
	}
	for i, line := range lines {
		if i == 0 && !first || i > 0 && line == "" && !blank {
			continue
		}
		lines[i] = pad + line
	}
	return exec.AsValue(strings.Join(lines, "\n"))
}

// rangeFunction returns a list, where gonja's starts a goroutine.
func rangeFunction(p *exec.VarArgs) *exec.Value {
	start, stop, step := 0, 0, 1
	switch len(p.Args) {
	case 1:
		stop = p.Args[0].Integer()
	case 3:
		step = p.Args[2].Integer()
		fallthrough
	case 2:
		start, stop = p.Args[0].Integer(), p.Args[1].Integer()
	}
	if step == 0 {
		return exec.AsValue(errors.New("range: step is 0"))
	}
	items := list{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(items) == maxRange {
			return exec.AsValue(fmt.Errorf("range: %w", ErrLimit))
		}
		items = append(items, i)
	}
	return exec.AsValue(items)
}
