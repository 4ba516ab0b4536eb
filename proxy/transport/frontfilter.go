package transport

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxInValues is what Supabase Realtime allows in one list.
const maxInValues = 100

// maxConditions bounds the comparisons of a channel: all are made for each event.
const maxConditions = 100

// frontCondition is one parsed comparison of a filter.
type frontCondition struct {
	column, op, value string
	items             []string // of in
	negated           bool
}

var filterOperators = []string{"eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is"}

// parseConditions reads column=op.value, several joined by commas. problem is the text of the system message.
func parseConditions(filter string) (conditions []frontCondition, problem string) {
	parts, ok := splitTop(filter)
	if !ok {
		return nil, filterProblem(filter)
	}
	for _, part := range parts {
		column, rest, ok := strings.Cut(part, "=")
		if !ok {
			return nil, filterProblem(part)
		}
		c := frontCondition{column: column}
		rest, c.negated = strings.CutPrefix(rest, "not.")
		if c.op, c.value, ok = strings.Cut(rest, "."); !ok {
			return nil, filterProblem(rest)
		}
		if !slices.Contains(filterOperators, c.op) {
			return nil, filterProblem(c.op, c.value)
		}
		if problem := c.parseValue(); problem != "" {
			return nil, problem
		}
		conditions = append(conditions, c)
	}
	return conditions, ""
}

func (c *frontCondition) parseValue() (problem string) {
	if c.op != "in" {
		c.value = unquoteValue(c.value)
		return ""
	}
	inner, opened := strings.CutPrefix(c.value, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	items, ok := splitTop(inner)
	switch {
	case !opened || !closed || !ok:
		return "Error parsing `filter` params: `in` filter value must be wrapped by parentheses"
	case len(items) > maxInValues:
		return fmt.Sprintf("Error parsing `filter` params: too many values for in filter. Maximum %d", maxInValues)
	}
	for i := range items {
		items[i] = unquoteValue(items[i])
	}
	c.items, c.value = items, "{"+strings.Join(items, ",")+"}"
	return ""
}

func filterProblem(parts ...string) string {
	return "Error parsing `filter` params: " + inspectJSON(encode(parts))
}

// splitTop splits at the commas outside quotes and parentheses; ok is false where those do not close.
func splitTop(text string) (parts []string, ok bool) {
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts, start = append(parts, text[start:i]), i+1
		}
	}
	return append(parts, text[start:]), depth == 0 && !quoted
}

func unquoteValue(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var b strings.Builder
	for inner := text[1 : len(text)-1]; inner != ""; inner = inner[1:] {
		if inner[0] == '\\' && len(inner) > 1 {
			inner = inner[1:]
		}
		b.WriteByte(inner[0])
	}
	return b.String()
}

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

// frontTest is a compiled condition.
type frontTest func(*frontSubject) truth

// frontSubject is an event that a channel's conditions are tested on. Each column is parsed once, however many conditions name it.
type frontSubject struct {
	*chat.Event
	values map[string]any // by column
}

func (s *frontSubject) value(c chat.PublicColumn, text string) any {
	value, known := s.values[c.Column]
	if !known {
		if s.values == nil {
			s.values = make(map[string]any, 1)
		}
		value, _ = parseValue(c.Type, text)
		s.values[c.Column] = value
	}
	return value
}

// foreignConversation returns the conversation that a filter asks for where it is not the visitor's.
func (b *frontBinding) foreignConversation(v *chat.Visitor, t chat.Table) string {
	for _, c := range b.conditions {
		if c.negated || c.column != t.Columns.Name("conversation_id") {
			continue
		}
		own := func(id string) bool { return strings.EqualFold(id, v.ConversationID) }
		foreign := func(id string) bool { _, err := uuid.Parse(id); return err == nil && !own(id) }
		switch {
		case c.op == "eq" && foreign(c.value):
			return c.value
		case c.op == "in" && !slices.ContainsFunc(c.items, own) && slices.ContainsFunc(c.items, foreign):
			return c.items[slices.IndexFunc(c.items, foreign)]
		}
	}
	return ""
}

// compile makes the tests of a binding. fault is what the database would say.
func (b *frontBinding) compile(v *chat.Visitor, t chat.Table) (fault string) {
	for _, name := range b.only {
		if _, ok := publicColumn(t, name); !ok {
			return "P0001 (raise_exception) invalid column for select " + name
		}
	}
	for _, c := range b.conditions {
		column, ok := publicColumn(t, c.column)
		if !ok {
			return "P0001 (raise_exception) invalid column for filter " + c.column
		}
		test, fault := c.compile(column, v)
		if fault != "" {
			return fault
		}
		b.tests = append(b.tests, test.on(column.Column, c.negated))
	}
	return ""
}

// publicColumn finds a column by the database's name.
func publicColumn(t chat.Table, name string) (chat.PublicColumn, bool) {
	for _, c := range chat.PublicColumns() {
		if t.Columns.Name(c.Column) == name {
			return c, true
		}
	}
	return chat.PublicColumn{}, false
}

// valueTest judges a value that is not null.
type valueTest func(s *frontSubject, text string) bool

func likeTest(pattern string, fold bool) valueTest {
	if !fold {
		return func(_ *frontSubject, text string) bool { return isLike(pattern, text) }
	}
	pattern = strings.ToLower(pattern)
	return func(_ *frontSubject, text string) bool { return isLike(pattern, strings.ToLower(text)) }
}

// on applies the test to a column of an event. Of a deleted row only the ids are known; null satisfies nothing but a test for it.
func (test valueTest) on(column string, negated bool) frontTest {
	return func(e *frontSubject) truth {
		text, ok := e.Message.Column(column)
		if e.Kind == chat.KindDeleted && column != "id" && column != "conversation_id" {
			return unknown
		}
		switch {
		case test == nil: // is null
			return truthOf(ok == negated)
		case !ok:
			return unknown
		}
		return truthOf(test(e, text) != negated)
	}
}

func (c *frontCondition) compile(column chat.PublicColumn, v *chat.Visitor) (test valueTest, fault string) {
	switch c.op {
	case "is":
		if value := strings.ToLower(c.value); value == "null" || value == "unknown" {
			return nil, ""
		}
		return nil, "P0001 (raise_exception) invalid value for is filter " + c.value
	case "like", "ilike":
		if column.Type != "varchar" {
			return nil, "42883 (undefined_function) operator does not exist: " + column.Type + " ~~ unknown"
		}
		return likeTest(c.value, c.op == "ilike"), ""
	}
	values := c.items
	if c.op != "in" {
		values = []string{c.value}
	}
	wanted := make([]any, len(values))
	for i, value := range values {
		var ok bool
		if wanted[i], ok = parseValue(column.Type, value); !ok && !strings.EqualFold(value, v.ConversationID) {
			return nil, invalidSyntax(column.Type, value)
		}
	}
	return func(s *frontSubject, text string) bool {
		have := s.value(column, text)
		return slices.ContainsFunc(wanted, func(want any) bool { return holds(c.op, compareValues(have, want)) })
	}, ""
}
