package chat

import (
	"errors"
	"fmt"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// guard counts what one rendering does. It travels in the context under a name
// that no template can spell. One goroutine uses it.
type guard struct {
	deadline time.Time
	now      time.Time
	steps    int
	calls    int   // depth of macro calls
	err      error // the first limit or exception; it outlives the interpreter's wrapping
}

func guardOf(r *exec.Renderer) *guard {
	v, _ := r.Environment.Context.Get(guardName)
	g, _ := v.(*guard)
	return g
}

func (g *guard) fail(err error) error {
	if g.err == nil {
		g.err = err
	}
	return g.err
}

// step is called for every statement.
func (g *guard) step() error {
	if g.err != nil {
		return g.err
	}
	if g.steps++; g.steps > maxSteps {
		return g.fail(fmt.Errorf("%w: more than %d steps", ErrLimit, maxSteps))
	}
	if g.steps%64 == 0 && time.Now().After(g.deadline) {
		return g.fail(fmt.Errorf("%w: more than %v", ErrLimit, maxTime))
	}
	return nil
}

// raise is the raise_exception of templates.
func (g *guard) raise(message *exec.Value) *exec.Value {
	return exec.AsValue(g.fail(fmt.Errorf("%w: %s", ErrTemplate, message.String())))
}

// measure walks a value before it is stored, so that a loop can neither grow
// it without end nor tie it into a knot, which would overflow the stack later.
func (g *guard) measure(v *exec.Value) error {
	budget := maxText
	if !measure(v, 0, &budget) {
		return g.fail(fmt.Errorf("%w: a variable is larger than %d bytes or nested deeper than %d", ErrLimit, maxText, maxNesting))
	}
	return nil
}

func measure(v *exec.Value, depth int, budget *int) bool {
	*budget -= 16
	if depth > maxNesting || *budget < 0 {
		return false
	}
	if v == nil || v.IsNil() || v.IsError() {
		return true
	}
	switch {
	case v.IsString():
		*budget -= len(v.String())
	case v.IsList(), v.IsDict():
		ok := true
		v.Iterate(func(_, _ int, key, item *exec.Value) bool {
			ok = measure(key, depth+1, budget) && (item == nil || measure(item, depth+1, budget))
			return ok
		}, func() {})
		return ok
	}
	return *budget >= 0
}

// guarded wraps a built-in statement with the step count, and macros with a
// bound on recursion, which Go could not recover from.
func guarded(parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		cs, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		if f, ok := cs.(*controlStructures.ForControlStructure); ok && f.Recursive {
			return nil, errors.New("recursive loops are not supported")
		}
		inner, ok := cs.(exec.ControlStructure)
		if !ok {
			return cs, nil
		}
		return &statement{inner}, nil
	}
}

type statement struct{ exec.ControlStructure }

func (s *statement) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	g := guardOf(r)
	if err := g.step(); err != nil {
		return err
	}
	if err := s.ControlStructure.Execute(r, tag); err != nil {
		return err
	}
	if m, ok := s.ControlStructure.(*controlStructures.MacroControlStructure); ok {
		v, _ := r.Environment.Context.Get(m.Name)
		if f, ok := v.(exec.Macro); ok {
			r.Environment.Context.Set(m.Name, g.bound(f))
		}
	}
	return nil
}

func (g *guard) bound(f exec.Macro) exec.Macro {
	return func(p *exec.VarArgs) *exec.Value {
		if err := g.step(); err != nil {
			return exec.AsValue(err)
		}
		if g.calls >= maxNesting {
			return exec.AsValue(g.fail(fmt.Errorf("%w: macros call each other %d deep", ErrLimit, maxNesting)))
		}
		g.calls++
		defer func() { g.calls-- }()
		return f(p)
	}
}

// setStatement is {% set target = value %} and {% set target %}...{% endset %}.
type setStatement struct {
	location    *tokens.Token
	target      nodes.Expression // a name or an attribute of a namespace
	value       nodes.Expression
	condition   nodes.Expression // value if condition else alternative
	alternative nodes.Expression
	body        *nodes.Wrapper
}

// Position returns where the statement begins.
func (s *setStatement) Position() *tokens.Token { return s.location }

// String names the statement in the interpreter's error messages.
func (s *setStatement) String() string { return fmt.Sprintf("set at line %d", s.location.Line) }

func parseSet(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s := &setStatement{location: p.Current()}
	var err error
	if s.target, err = args.ParseVariableOrLiteral(); err != nil {
		return nil, err
	}
	switch s.target.(type) {
	case *nodes.Name, *nodes.GetAttribute:
	default:
		return nil, args.Error("set takes a name or an attribute of a namespace", nil)
	}
	if args.Match(tokens.Assign) == nil {
		wrapper, end, err := p.WrapUntil("endset")
		if err != nil {
			return nil, err
		}
		if !args.End() || !end.End() {
			return nil, args.Error("malformed set", nil)
		}
		s.body = wrapper
		return s, nil
	}
	if s.value, err = args.ParseExpression(); err != nil {
		return nil, err
	}
	if s.condition, s.alternative, err = args.ParseCondition(); err != nil {
		return nil, err
	}
	if !args.End() {
		return nil, args.Error("malformed set", args.Current())
	}
	return s, nil
}

// Execute assigns.
func (s *setStatement) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	g := guardOf(r)
	if err := g.step(); err != nil {
		return err
	}
	v := exec.AsValue(nil)
	switch {
	case s.body != nil:
		out := &limitedBuffer{}
		sub := r.Inherit()
		sub.Output = out
		if err := sub.ExecuteWrapper(s.body); err != nil {
			return err
		}
		v = exec.AsValue(out.String())
	case s.condition == nil:
		v = r.Eval(s.value)
	default:
		c := r.Eval(s.condition)
		if c.IsError() {
			return c
		}
		if c.IsTrue() {
			v = r.Eval(s.value)
		} else if s.alternative != nil {
			v = r.Eval(s.alternative)
		}
	}
	if v.IsError() {
		return v
	}
	if err := g.measure(v); err != nil {
		return err
	}
	if name, ok := s.target.(*nodes.Name); ok {
		r.Environment.Context.Set(name.Name.Val, v.Interface())
		return nil
	}
	attr := s.target.(*nodes.GetAttribute)
	object := r.Eval(attr.Node)
	if object.IsError() {
		return object
	}
	ns, ok := object.Interface().(map[string]any)
	if !ok {
		return fmt.Errorf("set: %s is not a namespace", attr.Node)
	}
	ns[attr.Attribute] = v.Interface()
	return g.measure(object)
}

// generation is transformers' {% generation %} block, which marks the
// assistant's tokens for training and renders as its content.
type generation struct {
	location *tokens.Token
	body     *nodes.Wrapper
}

// Position returns where the statement begins.
func (s *generation) Position() *tokens.Token { return s.location }

// String names the statement in the interpreter's error messages.
func (s *generation) String() string { return fmt.Sprintf("generation at line %d", s.location.Line) }

func parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s := &generation{location: p.Current()}
	wrapper, _, err := p.WrapUntil("endgeneration")
	s.body = wrapper
	return s, err
}

// Execute renders the content.
func (s *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(s.body)
}
