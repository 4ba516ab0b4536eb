package standin

import (
	"encoding/json"
	"strings"
)

// truth is SQL's three-valued logic.
type truth int8

const (
	no truth = iota
	yes
	unknown
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// predicate decides one row.
type predicate func(Row) truth

func conjunction(terms []predicate) predicate {
	return func(r Row) truth {
		result := yes
		for _, term := range terms {
			switch term(r) {
			case no:
				return no
			case unknown:
				result = unknown
			}
		}
		return result
	}
}

func disjunction(terms []predicate) predicate {
	return func(r Row) truth {
		result := no
		for _, term := range terms {
			switch term(r) {
			case yes:
				return yes
			case unknown:
				result = unknown
			}
		}
		return result
	}
}

func negation(term predicate) predicate { return func(r Row) truth { return term(r).not() } }

// operand is the left side of a filter: a column or a JSON path below one.
type operand struct {
	column *Column
	path   []string
	asText bool // ->> at the end of the path
}

var textOperand = &Column{Type: "text"}

// typ is the type that values are compared in.
func (o operand) typ() *Column {
	if len(o.path) == 0 {
		return o.column
	}
	if o.asText {
		return textOperand
	}
	return &Column{Name: o.column.Name, Type: "jsonb"}
}

func (o operand) value(r Row) any {
	v := r[o.column.Name]
	if len(o.path) == 0 || v == nil {
		return v
	}
	raw, ok := v.(json.RawMessage)
	if !ok {
		return nil
	}
	found, err := decodeJSON(raw)
	if err != nil {
		return nil
	}
	for _, key := range o.path {
		object, ok := found.(map[string]any)
		if !ok {
			return nil
		}
		if found, ok = object[key]; !ok {
			return nil
		}
	}
	switch found := found.(type) {
	case nil:
		if o.asText {
			return nil
		}
	case string:
		if o.asText {
			return found
		}
	}
	encoded := appendJSON(nil, found, jsonbText)
	if o.asText {
		return string(encoded)
	}
	return json.RawMessage(encoded)
}

// comparison compiles operator and literal for the operand; ok is false for an operator that does not exist.
func (o operand) comparison(operator, literal string) (p predicate, ok bool, err error) {
	typ := o.typ()
	var accept func(order int) bool
	switch operator {
	case "eq":
		accept = func(order int) bool { return order == 0 }
	case "neq":
		accept = func(order int) bool { return order != 0 }
	case "gt":
		accept = func(order int) bool { return order > 0 }
	case "gte":
		accept = func(order int) bool { return order >= 0 }
	case "lt":
		accept = func(order int) bool { return order < 0 }
	case "lte":
		accept = func(order int) bool { return order <= 0 }
	default:
		return nil, false, nil
	}
	want, err := typ.parse(literal)
	if err != nil {
		return nil, true, err
	}
	return func(r Row) truth {
		have := o.value(r)
		if have == nil {
			return unknown
		}
		return truthOf(accept(compareValues(have, want)))
	}, true, nil
}

func (o operand) in(literals []string) (predicate, error) {
	typ := o.typ()
	set := make(map[string]bool, len(literals))
	for _, literal := range literals {
		want, err := typ.parse(literal)
		if err != nil {
			return nil, err
		}
		set[lookupKey(want)] = true
	}
	return func(r Row) truth {
		have := o.value(r)
		if have == nil {
			return unknown
		}
		return truthOf(set[lookupKey(have)])
	}, nil
}

// is compiles IS NULL, IS TRUE, IS FALSE and IS UNKNOWN; ok is false for any other literal.
func (o operand) is(literal string) (p predicate, ok bool) {
	switch strings.ToLower(literal) {
	case "null", "unknown":
		return func(r Row) truth { return truthOf(o.value(r) == nil) }, true
	case "not_null":
		return func(r Row) truth { return truthOf(o.value(r) != nil) }, true
	case "true":
		return func(r Row) truth { return truthOf(o.value(r) == true) }, true
	case "false":
		return func(r Row) truth { return truthOf(o.value(r) == false) }, true
	}
	return nil, false
}

// like compiles LIKE with % and _ as wildcards.
func (o operand) like(pattern string, fold bool) predicate {
	return func(r Row) truth {
		have := o.value(r)
		if have == nil {
			return unknown
		}
		text, err := scalarText(have)
		if err != nil {
			return no
		}
		if fold {
			return truthOf(matchLike([]rune(strings.ToLower(pattern)), []rune(strings.ToLower(text))))
		}
		return truthOf(matchLike([]rune(pattern), []rune(text)))
	}
}

func matchLike(pattern, s []rune) bool {
	for len(pattern) > 0 {
		switch pattern[0] {
		case '%':
			for i := 0; i <= len(s); i++ {
				if matchLike(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '_':
			if len(s) == 0 {
				return false
			}
		case '\\':
			if len(pattern) > 1 {
				pattern = pattern[1:]
			}
			fallthrough
		default:
			if len(s) == 0 || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return len(s) == 0
}
