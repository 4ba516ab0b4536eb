package standin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// binding is one postgres_changes entry of a join. Immutable.
type binding struct {
	raw    map[string]any // as sent
	id     int
	event  string // INSERT, UPDATE, DELETE or *
	schema string
	table  string
	filter string
	only   []string // select; nil = all

	conditions []condition
	problem    error // what parse found
}

// condition is one parsed comparison of a filter.
type condition struct {
	column, op, value string
	items             []string // of in
	negated           bool
}

const maxInValues = 100

// filterOperators are the operators of postgres_changes filters.
var filterOperators = []string{"eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is"}

// newBinding reads the object of a join. It never fails: what is wrong with a binding shows when it is subscribed.
func newBinding(raw map[string]any) *binding {
	b := &binding{raw: raw, event: "*"}
	if event, ok := raw["event"].(string); ok && slices.Contains([]string{"INSERT", "UPDATE", "DELETE"}, strings.ToUpper(event)) {
		b.event = strings.ToUpper(event)
	}
	h := fnv.New32a()
	_, _ = h.Write(appendJSON(nil, raw, elixirText))
	b.id = max(1, int(h.Sum32()&(1<<27-1)))
	b.problem = b.parse()
	return b
}

// echo is the binding as the join reply repeats it: id, then its keys sorted.
func (b *binding) echo(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(b.id), 10)
	for _, key := range sortedKeys(b.raw, elixirText) {
		dst = append(append(append(dst, ','), appendString(nil, key)...), ':')
		dst = appendJSON(dst, b.raw[key], elixirText)
	}
	return append(dst, '}')
}

// parse reads schema, table, filter and select. Its error is the text of the system message.
func (b *binding) parse() error {
	schema, hasSchema := b.raw["schema"].(string)
	table, hasTable := b.raw["table"].(string)
	filter, hasFilter := b.raw["filter"].(string)
	for _, key := range []string{"schema", "table", "filter"} {
		if v, sent := b.raw[key]; sent {
			if _, ok := v.(string); !ok {
				return b.noParams()
			}
		}
	}
	switch {
	case hasSchema && hasTable:
	case hasTable:
		schema = "public"
	case hasSchema && !hasFilter:
		table = "*"
	default:
		return b.noParams()
	}
	b.schema, b.table, b.filter = schema, table, filter
	if list, ok := b.raw["select"].([]any); ok {
		if schema == "*" || table == "*" {
			return wireText("Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.")
		}
		for _, item := range list {
			name, _ := item.(string)
			b.only = append(b.only, name)
		}
	}
	var err error
	if strings.TrimSpace(filter) != "" {
		b.conditions, err = parseConditions(filter)
	}
	return err
}

func (b *binding) noParams() error {
	return wireTextf("No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %s", inspect(b.raw))
}

func parseConditions(filter string) ([]condition, error) {
	parts, err := splitTop(filter)
	if err != nil {
		return nil, filterError(inspect([]any{filter}))
	}
	var conditions []condition
	for _, part := range parts {
		column, rest, ok := strings.Cut(part, "=")
		if !ok {
			return nil, filterError(inspect([]any{part}))
		}
		c := condition{column: column}
		inner, negated := strings.CutPrefix(rest, "not.")
		op, literal, ok := strings.Cut(inner, ".")
		if !ok {
			return nil, filterError(inspect([]any{inner}))
		}
		if !slices.Contains(filterOperators, op) {
			return nil, filterError(inspect([]any{op, literal}))
		}
		c.op, c.value, c.negated = op, unquoteValue(literal), negated
		if op == "in" {
			if c.items, err = listItems(literal); err != nil {
				return nil, filterError("`in` filter value must be wrapped by parentheses")
			}
			if len(c.items) > maxInValues {
				return nil, filterError("too many values for in filter. Maximum 100")
			}
			c.value = "{" + strings.Join(c.items, ",") + "}"
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

func filterError(detail string) error { return wireText("Error parsing `filter` params: " + detail) }

// compile checks the filter and the select against a table.
func (b *binding) compile(t *table) (predicate, error) {
	for _, name := range b.only {
		if t.columns[name] == nil {
			return nil, pgErrorf("P0001", "invalid column for select %s", name)
		}
	}
	if len(b.conditions) == 0 {
		return nil, nil
	}
	terms := make([]predicate, len(b.conditions))
	for i, c := range b.conditions {
		column := t.columns[c.column]
		if column == nil {
			return nil, pgErrorf("P0001", "invalid column for filter %s", c.column)
		}
		term, err := c.compile(operand{column: column})
		if err != nil {
			return nil, err
		}
		if c.negated {
			term = negation(term)
		}
		terms[i] = term
	}
	return conjunction(terms), nil
}

func (c condition) compile(o operand) (predicate, error) {
	switch c.op {
	case "in":
		return o.in(c.items)
	case "is":
		if p, ok := o.is(c.value); ok {
			return p, nil
		}
		return nil, pgErrorf("P0001", "invalid value for is filter %s", c.value)
	case "like", "ilike":
		return o.like(c.value, c.op == "ilike"), nil
	}
	p, _, err := o.comparison(c.op, c.value)
	return p, err
}

// describe is the list of parameters in subscription errors.
func (b *binding) describe() string {
	filters := make([]string, len(b.conditions))
	for i, c := range b.conditions {
		filters[i] = fmt.Sprintf("{%s, %s, %s, %t}", inspect(c.column), inspect(c.op), inspect(c.value), c.negated)
	}
	selected := "nil"
	if b.only != nil {
		list := make([]any, len(b.only))
		for i, name := range b.only {
			list[i] = name
		}
		selected = inspect(list)
	}
	return fmt.Sprintf("[event: %s, schema: %s, table: %s, filters: [%s], select: %s]",
		b.event, b.schema, b.table, strings.Join(filters, ", "), selected)
}

// inspect prints a decoded JSON value as Elixir prints the term.
func inspect(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return string(appendString(nil, v))
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = inspect(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var items []string
		for _, key := range sortedKeys(v, elixirText) {
			items = append(items, inspect(key)+" => "+inspect(v[key]))
		}
		return "%{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// matches reports whether the binding names the table and the event.
func (b *binding) matches(c *change) bool {
	return (b.event == "*" || b.event == c.kind.String()) && b.names(c.table)
}
