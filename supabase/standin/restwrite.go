package standin

import (
	"errors"
	"net/http"
	"strings"
)

func (h *restHandler) write(w http.ResponseWriter, r *http.Request, role, name string) {
	body, err := readBody(r)
	if err != nil {
		writeRESTError(w, role, err)
		return
	}
	p := preferences(r.Header)
	var q *restQuery
	var rows []Row
	err = h.db.Tx(func(tx *Tx) error {
		t, err := h.table(name, role)
		if err != nil {
			return err
		}
		if q, err = parseQuery(t, r.URL.Query()); err != nil {
			return err
		}
		switch r.Method {
		case http.MethodPost:
			rows, err = h.insert(tx, t, r, role, p, body)
		case http.MethodPatch:
			rows, err = h.patch(tx, q, role, body)
		default:
			rows, err = h.remove(tx, q, role)
		}
		return err
	})
	if err != nil {
		writeRESTError(w, role, err)
		return
	}
	contentRange(w, 0, len(rows), len(rows), p.count)
	h.answerWrite(w, r, p, q, rows)
}

func (h *restHandler) answerWrite(w http.ResponseWriter, r *http.Request, p prefer, q *restQuery, rows []Row) {
	switch {
	case p.representation && r.Method == http.MethodPost:
		h.respond(w, r, http.StatusCreated, q, rows)
	case p.representation:
		h.respond(w, r, http.StatusOK, q, rows)
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (h *restHandler) insert(tx *Tx, t *table, r *http.Request, role string, p prefer, body []byte) ([]Row, error) {
	inputs, err := bodyRows(body)
	if err != nil {
		return nil, err
	}
	if t.def.RLS && role != roleService {
		return nil, pgErrorf("42501", "new row violates row-level security policy for table %q", t.def.Name)
	}
	only := r.URL.Query().Get("columns")
	target := t.def.PrimaryKey
	if named := r.URL.Query().Get("on_conflict"); named != "" {
		target = strings.Split(named, ",")
	}
	var rows []Row
	for _, input := range inputs {
		if only != "" {
			input = input.restrict(strings.Split(only, ","))
		}
		row, err := h.insertOne(tx, t, input, target, p)
		if err != nil {
			return nil, err
		}
		if row != nil {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// insertOne adds a row; a nil row means that it was a duplicate to be ignored.
func (h *restHandler) insertOne(tx *Tx, t *table, input Row, target []string, p prefer) (Row, error) {
	for name := range input {
		if t.columns[name] == nil {
			return nil, pgErrorf("PGRST204", "Could not find the '%s' column of '%s' in the schema cache", name, t.def.Name)
		}
	}
	full, err := t.complete(input, Defaults{Now: tx.now, NewID: tx.db.newID})
	if err != nil {
		return nil, err
	}
	for _, name := range target {
		if t.columns[name] == nil {
			return nil, undefinedColumn(t.def.Name, name)
		}
	}
	if (p.ignore || p.merge) && len(target) > 0 {
		if rec := t.collision(full, target, nil); rec != nil {
			if p.ignore {
				return nil, nil
			}
			return tx.update(t, rec, input)
		}
	}
	return tx.insert(t, full)
}

func (r Row) restrict(columns []string) Row {
	kept := make(Row, len(columns))
	for _, name := range columns {
		if v, ok := r[name]; ok {
			kept[name] = v
		}
	}
	return kept
}

func (h *restHandler) patch(tx *Tx, q *restQuery, role string, body []byte) ([]Row, error) {
	inputs, err := bodyRows(body)
	if err != nil || len(inputs) != 1 {
		return nil, errors.Join(err, pgErrorf("PGRST102", "Empty or invalid json"))
	}
	for name := range inputs[0] {
		if q.table.columns[name] == nil {
			return nil, pgErrorf("PGRST204", "Could not find the '%s' column of '%s' in the schema cache", name, q.table.def.Name)
		}
	}
	var rows []Row
	for _, rec := range h.writable(tx, q, role) {
		row, err := tx.update(q.table, rec, inputs[0])
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (h *restHandler) remove(tx *Tx, q *restQuery, role string) ([]Row, error) {
	var rows []Row
	for _, rec := range h.writable(tx, q, role) {
		row := rec.row
		if err := tx.remove(q.table, rec); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// writable gives the records that PATCH or DELETE reaches: row level security hides all from any other role.
func (h *restHandler) writable(tx *Tx, q *restQuery, role string) []*record {
	return q.matching(func(Row) bool { return !q.table.def.RLS || role == roleService })
}

// bodyRows reads one JSON object or an array of them.
func bodyRows(body []byte) ([]Row, error) {
	invalid := pgErrorf("PGRST102", "Empty or invalid json")
	decoded, err := decodeJSON(body)
	if err != nil {
		return nil, invalid
	}
	items, ok := decoded.([]any)
	if !ok {
		items = []any{decoded}
	}
	rows := make([]Row, len(items))
	for i, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, invalid
		}
		rows[i] = object
	}
	return rows, nil
}
