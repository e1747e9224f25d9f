package main

// What is changed: the mutants of a file.

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MutantsOf lists those of a file, or of the files in a directory that are built here.
func mutantsOf(path string) ([]*mutant, error) {
	files := []string{path}
	if !strings.HasSuffix(path, ".go") {
		context := build.Default
		context.BuildTags = strings.Split(*tags, ",")
		p, err := context.ImportDir(path, 0)
		if err != nil {
			return nil, err
		}
		files = nil
		for _, name := range p.GoFiles {
			files = append(files, filepath.Join(path, name))
		}
	}
	var all []*mutant
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		f := finder{file: filepath.Clean(file), source: source, in: set.File(tree.FileStart)}
		for _, d := range tree.Decls {
			f.walk(d, nil)
		}
		all = append(all, f.found...)
	}
	return all, nil
}

// Finder collects the mutants of a file.
type finder struct {
	file   string
	source []byte
	in     *token.File
	found  []*mutant
}

func (f *finder) add(from, to token.Pos, text, what string) {
	start, end := f.in.Offset(from), f.in.Offset(to)
	// What follows keeps its line numbers, which are in the machine code.
	text += strings.Repeat("\n", max(0, f.in.Line(to)-f.in.Line(from)-strings.Count(text, "\n")))
	f.found = append(f.found, &mutant{file: f.file, line: f.in.Line(from), start: start, end: end, text: text, what: what})
}

// Text is the first line of a node, for what is printed.
func (f *finder) text(n ast.Node) string {
	first, _, _ := strings.Cut(string(f.source[f.in.Offset(n.Pos()):f.in.Offset(n.End())]), "\n")
	return first
}

var swapped = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL, token.LSS: token.LEQ, token.LEQ: token.LSS,
	token.GTR: token.GEQ, token.GEQ: token.GTR, token.LAND: token.LOR, token.LOR: token.LAND,
}

// Walk finds what may be changed below n, in a function of that type.
func (f *finder) walk(n ast.Node, of *ast.FuncType) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			if n.Body != nil {
				f.walk(n.Body, n.Type)
			}
			return false
		case *ast.FuncLit:
			f.walk(n.Body, n.Type)
			return false
		case *ast.IfStmt:
			f.add(n.Cond.Pos(), n.Cond.End(), "!("+string(f.source[f.in.Offset(n.Cond.Pos()):f.in.Offset(n.Cond.End())])+")", "negate "+f.text(n.Cond))
		case *ast.BinaryExpr:
			if to, ok := swapped[n.Op]; ok {
				f.add(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), to.String(), to.String()+" in "+f.text(n))
			}
		case *ast.BasicLit:
			if value, err := strconv.ParseInt(n.Value, 0, 64); err == nil && n.Kind == token.INT {
				f.add(n.Pos(), n.End(), strconv.FormatInt(value+1, 10), n.Value+" + 1")
			}
		case *ast.BlockStmt:
			f.statements(n.List, of)
		case *ast.CaseClause:
			f.statements(n.Body, of)
		case *ast.CommClause:
			f.statements(n.Body, of)
		}
		return true
	})
}

func (f *finder) statements(list []ast.Stmt, of *ast.FuncType) {
	for _, s := range list {
		remove := false
		switch s := s.(type) {
		case *ast.ExprStmt, *ast.DeferStmt, *ast.BranchStmt:
			remove = true
		case *ast.AssignStmt:
			switch s.Lhs[0].(type) {
			case *ast.SelectorExpr, *ast.IndexExpr, *ast.StarExpr:
				remove = true
			}
		case *ast.IncDecStmt:
			_, remove = s.X.(*ast.SelectorExpr)
		case *ast.ReturnStmt:
			remove = true
			f.returnNil(s, of)
		}
		if remove {
			f.add(s.Pos(), s.End(), "", "remove "+f.text(s))
		}
	}
}

// ReturnNil forgets the error that is returned.
func (f *finder) returnNil(s *ast.ReturnStmt, of *ast.FuncType) {
	if of == nil || of.Results == nil || len(s.Results) == 0 || len(s.Results) != of.Results.NumFields() {
		return
	}
	kind, _ := of.Results.List[len(of.Results.List)-1].Type.(*ast.Ident)
	last := s.Results[len(s.Results)-1]
	if kind != nil && kind.Name == "error" && f.text(last) != "nil" {
		f.add(last.Pos(), last.End(), "nil", "nil for "+f.text(last))
	}
}
