package prune

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"testing"

	"runtimegc/registry/daemondir"
)

// Every reason that the code can give is in the table, once, and its words are no other's.
func TestTableOfReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	if os.IsNotExist(err) {
		t.Skip("the sources are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var codes []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
				text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				codes = append(codes, Reason(text))
			}
		}
		return true
	})
	for p := daemondir.ProblemPermission; p <= daemondir.ProblemIO; p++ {
		codes = append(codes, Reason(p.String()))
	}
	if len(codes) < 25 {
		t.Fatalf("found only %q", codes)
	}
	count, owner := make(map[Reason]int), make(map[string]Reason)
	groups := []string{""}
	for _, info := range Reasons() {
		count[info.Reason]++
		if info.Words == "" || owner[info.Words] != "" {
			t.Errorf("%s is %q, as is %q", info.Reason, info.Words, owner[info.Words])
		}
		owner[info.Words] = info.Reason
		if info.Group != groups[len(groups)-1] {
			if slices.Contains(groups, info.Group) {
				t.Errorf("the reasons of %q do not stand together", info.Group)
			}
			groups = append(groups, info.Group)
		}
	}
	for _, code := range codes {
		if count[code] != 1 {
			t.Errorf("%s is in the table %d times", code, count[code])
		}
	}
	if got := Reason("of another version").Words(); got != "of another version" {
		t.Errorf("a reason that is not in the table: %q", got)
	}
}
