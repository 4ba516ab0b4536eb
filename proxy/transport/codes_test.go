package transport_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// sources are the files of a directory without its tests.
func sources(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	require.NotEmpty(t, files)
	return files
}

// codeArguments are the functions that take a code: how many arguments they have, and which is the code.
var codeArguments = map[string][2]int{"refuseRequest": {3, 1}, "refuse": {4, 1}, "RefuseLimit": {3, 0}}

// codesOf returns what stands in a file where a refusal's code belongs.
func codesOf(file *ast.File) (codes []ast.Expr) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if take, ok := codeArguments[name]; ok && len(n.Args) == take[0] {
				codes = append(codes, n.Args[take[1]])
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
				codes = append(codes, n.Value)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Code" && len(n.Rhs) == len(n.Lhs) {
					codes = append(codes, n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			if n.Names[0].Name == "functionTexts" {
				for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
					codes = append(codes, e.(*ast.KeyValueExpr).Value)
				}
			}
		}
		return true
	})
	return codes
}

// constants are the texts that names of a directory stand for.
func constants(files []*ast.File) map[string]string {
	texts := make(map[string]string)
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == len(spec.Names) {
				for i, name := range spec.Names {
					if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
						texts[name.Name], _ = strconv.Unquote(literal.Value) // the parser has read it
					}
				}
			}
			return true
		})
	}
	return texts
}

// refusalCodes are the codes that the source gives to refusals, each at least once.
func refusalCodes(t *testing.T) (codes []string) {
	for _, dir := range []string{".", "../chat", "../session", ".."} {
		files := sources(t, dir)
		texts := constants(files)
		for _, file := range files {
			for _, e := range codesOf(file) {
				switch e := e.(type) {
				case *ast.BasicLit:
					code, err := strconv.Unquote(e.Value)
					require.NoError(t, err)
					codes = append(codes, code)
				case *ast.Ident:
					if text, ok := texts[e.Name]; ok {
						codes = append(codes, text)
					} else {
						require.Equal(t, "code", e.Name, "a code that is neither a text nor a constant") // passed on
					}
				case *ast.SelectorExpr:
					require.Equal(t, "Code", e.Sel.Name) // of a Disconnect or another refusal
				default:
					require.Failf(t, "a code that this test cannot read", "%T", e)
				}
			}
		}
	}
	return codes
}

// section is a part of the README from its heading to the next of this or a higher level.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "\n### "+heading+"\n")
	require.True(t, found, heading)
	before, _, _ := strings.Cut(after, "\n## ")
	before, _, _ = strings.Cut(before, "\n### ")
	return before
}

func TestTheReadmeExplainsEveryRefusal(t *testing.T) {
	codes, text := refusalCodes(t), section(t, "Errors")
	require.Greater(t, len(codes), 50, "they are found")
	for _, code := range codes {
		assert.Contains(t, text, "`"+code+"`")
	}
}

func TestTheReadmeExplainsEveryClose(t *testing.T) {
	text := section(t, "WebSocket")
	for _, why := range chat.Disconnects() {
		if why == chat.Gone { // nobody is told
			continue
		}
		row := regexp.MustCompile(`(?m)^\| ` + strconv.Itoa(why.Close) + ` \|.*`).FindString(text)
		assert.Contains(t, row, "`"+why.Code+"`", "the row of %d", why.Close)
	}
}
