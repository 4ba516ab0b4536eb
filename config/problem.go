package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Key     string // section.key, the name of an environment variable, or the file
	Message string // what is wrong and what would be right; never a secret's value
}

// String returns "key: message".
func (p Problem) String() string { return p.Key + ": " + p.Message }

// Error holds all problems that Load found, ordered by key.
type Error struct {
	Problems []Problem
}

// Error returns one line a problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems collects what Load finds.
type problems struct {
	list    []Problem
	origins map[string]string // key -> where its value was set, for the end of a message
	files   []string          // keys of problems that concern a whole file
}

func (p *problems) add(key, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	base, _, _ := strings.Cut(key, "[")
	if origin := p.origins[base]; origin != "" {
		message += " (" + origin + ")"
	}
	p.list = append(p.list, Problem{Key: printable(key), Message: printable(message)})
}

func (p *problems) addFile(name, format string, args ...any) {
	p.files = append(p.files, printable(name))
	p.add(name, format, args...)
}

// printable keeps a problem on its line: keys and names come from files and the environment.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// has tells whether key or a part of it has a problem already, so that a value that was not decoded is not checked.
func (p *problems) has(key string) bool {
	return slices.ContainsFunc(p.list, func(q Problem) bool {
		rest, ok := strings.CutPrefix(q.Key, key)
		return ok && (rest == "" || rest[0] == '[' || rest[0] == '.')
	})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int { return cmp.Compare(a.Key, b.Key) })
	return &Error{Problems: p.list}
}
