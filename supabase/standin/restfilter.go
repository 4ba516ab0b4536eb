package standin

import (
	"strings"
)

// filterParser compiles PostgREST filters for one table.
type filterParser struct {
	table *table
}

func parseError(what, text string) error {
	err := pgErrorf("PGRST100", "\"failed to parse %s (%s)\" (line 1, column 1)", what, text)
	err.Details = "unexpected input"
	return err
}

// operand reads column, column->key->>key.
func (p filterParser) operand(s string) (operand, error) {
	parts := strings.Split(s, "->")
	column, ok := p.table.columns[parts[0]]
	if !ok {
		return operand{}, undefinedColumn(p.table.def.Name, parts[0])
	}
	o := operand{column: column}
	if len(parts) == 1 {
		return o, nil
	}
	if column.Type != "jsonb" {
		return o, pgErrorf("42883", "operator does not exist: %s -> unknown", pgTypeName(column.Type))
	}
	for i, key := range parts[1:] {
		if strings.HasPrefix(key, ">") {
			if i != len(parts)-2 {
				return o, parseError("field", s)
			}
			o.asText, key = true, key[1:]
		}
		if key == "" {
			return o, parseError("field", s)
		}
		o.path = append(o.path, key)
	}
	return o, nil
}

// condition compiles op.value or not.op.value.
func (p filterParser) condition(field, text string) (predicate, error) {
	o, err := p.operand(field)
	if err != nil {
		return nil, err
	}
	negate := false
	if rest, ok := strings.CutPrefix(text, "not."); ok {
		negate, text = true, rest
	}
	op, literal, ok := strings.Cut(text, ".")
	if !ok {
		return nil, parseError("filter", text)
	}
	term, err := p.term(o, op, literal)
	if err != nil || !negate {
		return term, err
	}
	return negation(term), nil
}

func (p filterParser) term(o operand, op, literal string) (predicate, error) {
	switch op {
	case "in":
		items, err := listItems(literal)
		if err != nil {
			return nil, err
		}
		return o.in(items)
	case "is":
		if term, ok := o.is(literal); ok {
			return term, nil
		}
		return nil, parseError("filter", op+"."+literal)
	case "like", "ilike":
		return o.like(strings.ReplaceAll(unquoteValue(literal), "*", "%"), op == "ilike"), nil
	}
	term, ok, err := o.comparison(op, literal)
	if !ok {
		return nil, parseError("filter", op+"."+literal)
	}
	return term, err
}

// listItems splits (a,"b,c",d).
func listItems(s string) ([]string, error) {
	if len(s) < 2 || s[0] != '(' || s[len(s)-1] != ')' {
		return nil, parseError("filter", "in."+s)
	}
	parts, err := splitTop(s[1 : len(s)-1])
	if err != nil {
		return nil, err
	}
	for i := range parts {
		parts[i] = unquoteValue(parts[i])
	}
	return parts, nil
}

// splitTop splits at commas outside parentheses and quotes.
func splitTop(s string) ([]string, error) {
	var parts []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return nil, parseError("logic tree", s)
			}
		case c == ',' && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	if depth != 0 || quoted {
		return nil, parseError("logic tree", s)
	}
	if s == "" {
		return nil, nil
	}
	return append(parts, s[start:]), nil
}

// unquoteValue takes "a\"b" to a"b and leaves anything else alone.
func unquoteValue(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// tree compiles the inside of and=(...) or or=(...).
func (p filterParser) tree(op, text string) (predicate, error) {
	if len(text) < 2 || text[0] != '(' || text[len(text)-1] != ')' {
		return nil, parseError("logic tree", text)
	}
	parts, err := splitTop(text[1 : len(text)-1])
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, parseError("logic tree", text)
	}
	terms := make([]predicate, len(parts))
	for i, part := range parts {
		if terms[i], err = p.branch(strings.TrimSpace(part)); err != nil {
			return nil, err
		}
	}
	if op == "or" {
		return disjunction(terms), nil
	}
	return conjunction(terms), nil
}

func (p filterParser) branch(part string) (predicate, error) {
	inner, negate := strings.CutPrefix(part, "not.")
	for _, op := range []string{"and", "or"} {
		if rest, ok := strings.CutPrefix(inner, op+"("); ok {
			term, err := p.tree(op, "("+rest)
			if err != nil || !negate {
				return term, err
			}
			return negation(term), nil
		}
	}
	field, condition, ok := strings.Cut(part, ".")
	if !ok {
		return nil, parseError("logic tree", part)
	}
	prefix, literal := cutOperator(condition)
	if prefix != "" && !strings.HasSuffix(prefix, "in.") && !strings.HasSuffix(prefix, "like.") {
		condition = prefix + unquoteValue(literal)
	}
	return p.condition(field, condition)
}

// cutOperator separates "eq." or "not.eq." from the literal behind it.
func cutOperator(s string) (prefix, literal string) {
	rest, negated := strings.CutPrefix(s, "not.")
	op, literal, ok := strings.Cut(rest, ".")
	if !ok {
		return "", s
	}
	if negated {
		op = "not." + op
	}
	return op + ".", literal
}
