package archtest

import (
	"go/ast"
	"go/token"
	"os"
	"strings"
	"testing"
)

// maxLines is the most that a reader is asked to take in at once.
const maxLines = 600

func TestFileLength(t *testing.T) {
	err := walk(func(name string, data []byte) error {
		code := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".s")
		if n := strings.Count(string(data), "\n"); code && n > maxLines {
			t.Errorf("%s has %d lines, at most %d", name, n, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is in the tree is finished; what is not is in the issues.
func TestNoUnfinishedMarks(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}
	err := walk(func(name string, data []byte) error {
		for i, line := range strings.Split(string(data), "\n") {
			for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') }) {
				for _, m := range marks {
					if word == m {
						t.Errorf("%s:%d: %s", name, i+1, m)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string]int{} // by package
	for _, f := range product(t) {
		if f.ast.Doc == nil {
			comments[f.dir] += 0
			continue
		}
		comments[f.dir]++
		if want := "Package " + f.ast.Name.Name + " "; f.ast.Name.Name != "main" && !strings.HasPrefix(f.ast.Doc.Text(), want) {
			t.Errorf("%s: the package comment does not begin with %q", f.path, want)
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, n)
		}
	}
}

// docs/ARCHITECTURE.md says of every package what it is for.
func TestArchitectureIsWhole(t *testing.T) {
	text, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	own, _ := imports(product(t))
	for dir := range own {
		if !strings.Contains(string(text), "`"+dir+"`") {
			t.Errorf("docs/ARCHITECTURE.md does not mention %s", dir)
		}
	}
}

// Every exported identifier says what it is: functions, methods, types, the
// methods of interfaces, constants and variables. A comment on a group of
// constants or variables covers the group.
func TestDocComments(t *testing.T) {
	for _, f := range product(t) {
		if f.ast.Name.Name == "main" {
			continue
		}
		missing := func(name string) { t.Errorf("%s: %s has no comment", f.path, name) }
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				owner := receiver(d)
				if d.Name.IsExported() && (owner == "" || ast.IsExported(owner)) && d.Doc == nil {
					missing(strings.TrimPrefix(owner+"."+d.Name.Name, "."))
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					undocumented(d, s, missing)
				}
			}
		}
	}
}

// receiver returns the name of a method's type, or "".
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// undocumented reports the exported names of a declaration without a comment.
func undocumented(d *ast.GenDecl, s ast.Spec, missing func(name string)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return
		}
		if s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
			missing(s.Name.Name)
		}
		if i, ok := s.Type.(*ast.InterfaceType); ok {
			for _, m := range i.Methods.List {
				if len(m.Names) > 0 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
					missing(s.Name.Name + "." + m.Names[0].Name)
				}
			}
		}
	case *ast.ValueSpec:
		if d.Tok != token.CONST && d.Tok != token.VAR || s.Doc != nil || s.Comment != nil || d.Doc != nil {
			return
		}
		for _, n := range s.Names {
			if n.IsExported() {
				missing(n.Name)
			}
		}
	}
}
