package config

import (
	"reflect"
	"slices"
)

// section is one level of the configuration's shape, read from the struct tags once.
type section struct {
	keys     []string            // in the order of the struct
	sections map[string]*section // nil entry: a plain value
}

var schema = sectionOf(reflect.TypeFor[Config]())

func sectionOf(t reflect.Type) *section {
	s := &section{sections: make(map[string]*section)}
	for field := range t.Fields() {
		key := field.Tag.Get("mapstructure")
		s.keys = append(s.keys, key)
		s.sections[key] = nil
		if field.Type.Kind() == reflect.Struct {
			s.sections[key] = sectionOf(field.Type)
		}
	}
	return s
}

// leaves returns the dotted path of every plain value below s.
func (s *section) leaves(prefix string) []string {
	var paths []string
	for _, key := range s.keys {
		if sub := s.sections[key]; sub != nil {
			paths = append(paths, sub.leaves(prefix+key+".")...)
			continue
		}
		paths = append(paths, prefix+key)
	}
	return paths
}

// nearest returns the candidate closest to name, or "" where none is close enough to be a slip of the keyboard.
func nearest(name string, candidates []string) string {
	const slips = 3
	best, bestDistance := "", slips+1
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance && d*2 <= len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := slices.Clone(row)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
		}
		row = next
	}
	return row[len(b)]
}
