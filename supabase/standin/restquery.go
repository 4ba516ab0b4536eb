package standin

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// restQuery is a compiled query string.
type restQuery struct {
	table   *table
	where   predicate
	narrow  []narrowing
	columns []selection
	order   []ordering
	limit   int // -1 = none
	offset  int
}

// narrowing names records that alone can match, by a look-up.
type narrowing struct {
	column string
	values []any
}

// selection is one item of select=.
type selection struct {
	name string // key of the answer
	from operand
}

type ordering struct {
	by         operand
	descending bool
	nullsFirst bool
}

// notFilters are query keys that are no column filters.
var notFilters = []string{"select", "order", "limit", "offset", "on_conflict", "columns", "and", "or", "not.and", "not.or", "apikey"}

// parseQuery compiles a query for t. The database must be locked.
func parseQuery(t *table, values url.Values) (*restQuery, error) {
	q := &restQuery{table: t, limit: -1}
	p := filterParser{table: t}
	terms, err := q.filters(p, values)
	if err != nil {
		return nil, err
	}
	q.where = conjunction(terms)
	if err := q.parseSelect(p, values.Get("select")); err != nil {
		return nil, err
	}
	if err := q.parseOrder(p, values.Get("order")); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		key    string
		target *int
	}{{"limit", &q.limit}, {"offset", &q.offset}} {
		text := values.Get(n.key)
		if text == "" {
			continue
		}
		if *n.target, err = strconv.Atoi(text); err != nil || *n.target < 0 {
			return nil, parseError(n.key, text)
		}
	}
	return q, nil
}

func (q *restQuery) filters(p filterParser, values url.Values) ([]predicate, error) {
	var terms []predicate
	for _, key := range sortedKeys(values, elixirText) {
		for _, text := range values[key] {
			var term predicate
			var err error
			op, negate := strings.CutPrefix(key, "not.")
			switch {
			case op == "and" || op == "or":
				if term, err = p.tree(op, text); err == nil && negate {
					term = negation(term)
				}
			case slices.Contains(notFilters, key):
				continue
			default:
				term, err = p.condition(key, text)
				q.narrowBy(key, text)
			}
			if err != nil {
				return nil, err
			}
			terms = append(terms, term)
		}
	}
	return terms, nil
}

// narrowBy remembers an eq or in filter on a column with a look-up. Wrong literals have been refused before.
func (q *restQuery) narrowBy(column, text string) {
	if _, ok := q.table.lookups[column]; !ok {
		return
	}
	op, literal, _ := strings.Cut(text, ".")
	literals := []string{literal}
	switch op {
	case "eq":
	case "in":
		var err error
		if literals, err = listItems(literal); err != nil {
			return
		}
	default:
		return
	}
	n := narrowing{column: column}
	for _, literal := range literals {
		v, err := q.table.columns[column].parse(literal)
		if err != nil {
			return
		}
		n.values = append(n.values, v)
	}
	q.narrow = append(q.narrow, n)
}

func (q *restQuery) parseSelect(p filterParser, text string) error {
	if text == "" {
		text = "*"
	}
	items, err := splitTop(text)
	if err != nil {
		return err
	}
	for _, item := range items {
		item = strings.TrimSpace(item)
		if item == "*" {
			for i := range q.table.def.Columns {
				c := &q.table.def.Columns[i]
				q.columns = append(q.columns, selection{name: c.Name, from: operand{column: c}})
			}
			continue
		}
		if strings.ContainsAny(item, "()") {
			return pgErrorf("PGRST200", "Could not find a relationship between '%s' and '%s' in the schema cache",
				q.table.def.Name, item[:strings.IndexAny(item, "()")])
		}
		item, _, _ = strings.Cut(item, "::")
		name, field, aliased := strings.Cut(item, ":")
		if !aliased {
			field = item
			name = strings.TrimPrefix(item[strings.LastIndex(item, "->")+1:], ">")
		}
		from, err := p.operand(field)
		if err != nil {
			return err
		}
		q.columns = append(q.columns, selection{name: name, from: from})
	}
	return nil
}

func (q *restQuery) parseOrder(p filterParser, text string) error {
	if text == "" {
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		parts := strings.Split(item, ".")
		by, err := p.operand(parts[0])
		if err != nil {
			return err
		}
		o := ordering{by: by}
		for _, word := range parts[1:] {
			switch word {
			case "asc":
			case "desc":
				o.descending, o.nullsFirst = true, true
			case "nullsfirst":
				o.nullsFirst = true
			case "nullslast":
				o.nullsFirst = false
			default:
				return parseError("order", text)
			}
		}
		q.order = append(q.order, o)
	}
	return nil
}

// candidates gives the records that can match at all, in order of insertion.
func (q *restQuery) candidates() []*record {
	if len(q.narrow) == 0 {
		return q.table.rows
	}
	var best []*record
	for i, n := range q.narrow {
		var recs []*record
		seen := make(map[string]bool, len(n.values))
		for _, v := range n.values {
			if key := lookupKey(v); !seen[key] {
				seen[key] = true
				recs = append(recs, q.table.find(n.column, v)...)
			}
		}
		if i == 0 || len(recs) < len(best) {
			best = recs
		}
	}
	sortRecords(best)
	return best
}

// matching gives the records that the role may see and that match, ordered, before limit and offset.
func (q *restQuery) matching(visible func(Row) bool) []*record {
	var recs []*record
	for _, rec := range q.candidates() {
		if !rec.dead && visible(rec.row) && q.where(rec.row) == yes {
			recs = append(recs, rec)
		}
	}
	if len(q.order) > 0 {
		slices.SortStableFunc(recs, func(a, b *record) int { return q.compare(a.row, b.row) })
	}
	return recs
}

func (q *restQuery) compare(a, b Row) int {
	for _, o := range q.order {
		x, y := o.by.value(a), o.by.value(b)
		switch {
		case x == nil && y == nil:
			continue
		case x == nil || y == nil:
			if (x == nil) == o.nullsFirst {
				return -1
			}
			return 1
		}
		if order := compareValues(x, y); order != 0 {
			if o.descending {
				return -order
			}
			return order
		}
	}
	return 0
}

// window applies offset and limit, the latter at most maxRows.
func (q *restQuery) window(recs []*record, maxRows int) []*record {
	recs = recs[min(q.offset, len(recs)):]
	n := maxRows
	if q.limit >= 0 {
		n = min(n, q.limit)
	}
	return recs[:min(n, len(recs))]
}

// encode writes the selected columns of rows as json_agg does.
func (q *restQuery) encode(rows []Row) []byte {
	body := []byte{'['}
	for i, row := range rows {
		if i > 0 {
			body = append(body, ", \n "...)
		}
		body = q.appendRow(body, row)
	}
	return append(body, ']')
}

func (q *restQuery) appendRow(dst []byte, row Row) []byte {
	dst = append(dst, '{')
	for i, c := range q.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, c.name), ':')
		dst = appendValue(dst, c.from.value(row))
	}
	return append(dst, '}')
}
