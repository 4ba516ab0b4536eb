package standin

import (
	"encoding/json"
	"slices"
	"time"
)

type changeKind uint8

const (
	kindInsert changeKind = iota
	kindUpdate
	kindDelete
)

func (k changeKind) String() string { return [...]string{"INSERT", "UPDATE", "DELETE"}[k] }

// change is one committed row event, or a broadcast sent from the database.
type change struct {
	table    *table
	kind     changeKind
	old, row Row       // row nil for DELETE, old nil for INSERT
	at       time.Time // commit
	send     *broadcast

	// Of a change from a ChangeSource.
	visible map[string]bool // roles that see it; nil = of the server's own database
	walSize int
}

// foreign reports whether the change comes from a ChangeSource.
func (c *change) foreign() bool { return c.visible != nil }

// readable reports whether row level security lets role see the change.
func (c *change) readable(role string, now time.Time) bool {
	if c.foreign() {
		return c.visible[role]
	}
	return c.table.readable(role, c.row, now)
}

// Texts of data.errors.
const (
	errorUnauthorized = "Error 401: Unauthorized"
	errorNoKey        = "Error 400: Bad Request, no primary key"
	errorTooLarge     = "Error 413: Payload Too Large"
)

const smallValue = 64 // bytes of JSON that a column may have in a record cut by error 413

// rendering writes a change for the subscribers of one role. The database is locked meanwhile.
type rendering struct {
	change
	failure string // "" or one of the error texts
	revoked bool
	absent  map[string]bool // columns left out of record: unchanged and toasted, or cut by error 413
}

func (c *change) render(role string, maxRecord, toast int) rendering {
	r := rendering{change: *c, revoked: c.table.revoked[role]}
	if c.kind == kindDelete {
		return r
	}
	switch {
	case len(c.table.def.PrimaryKey) == 0:
		r.failure = errorNoKey
		return r
	case r.revoked:
		r.failure = errorUnauthorized
		return r
	}
	r.absent = make(map[string]bool)
	if c.kind == kindUpdate && !c.table.def.FullIdentity && !c.foreign() {
		for name, v := range c.row {
			if valueBytes(v) > toast && valueBytes(c.old[name]) == valueBytes(v) && compareValues(v, c.old[name]) == 0 {
				r.absent[name] = true
			}
		}
	}
	if r.walBytes() > maxRecord {
		r.failure = errorTooLarge
		for name, v := range c.row {
			if v == nil || valueBytes(v) > smallValue {
				r.absent[name] = true
			}
		}
	}
	return r
}

// unfiltered reports whether the change goes to every subscriber of the table, whatever the filter.
func (r *rendering) unfiltered() bool {
	return r.failure == errorNoKey || r.failure == errorUnauthorized
}

// valueBytes is the length of a stored value as JSON, exact for those that can be long.
func valueBytes(v any) int {
	switch v := v.(type) {
	case nil:
		return 4
	case json.RawMessage:
		return len(v)
	case string:
		if len(v) > 1<<10 {
			return len(v) + 2
		}
	}
	return len(appendValue(nil, v))
}

// walBytes is the length of the row in wal2json's output; where the source does not say it, an estimate from name, type and
// value of each column.
func (r *rendering) walBytes() int {
	if r.foreign() {
		return r.walSize
	}
	n := 0
	for name, v := range r.row {
		if !r.absent[name] {
			n += valueBytes(v) + len(name) + 80
		}
	}
	return n
}

// filterRow is the row that filters are tested against: the new row without absent toasted columns, or for DELETE what the
// replica identity keeps of the old one.
func (r *rendering) filterRow() Row {
	if r.kind == kindDelete {
		if r.table.def.FullIdentity {
			return r.old
		}
		return r.table.key(r.old)
	}
	if len(r.absent) == 0 || r.failure == errorTooLarge {
		return r.row
	}
	row := r.row.clone()
	for name := range r.absent {
		row[name] = nil
	}
	return row
}

// data writes the data object of the frame; only lists the columns of a select, nil means all.
func (r *rendering) data(only []string) []byte {
	b := append([]byte(`{"table":`), appendString(nil, r.table.def.Name)...)
	b = append(b, `,"type":"`...)
	b = append(b, r.kind.String()...)
	b = append(b, '"')
	if r.kind != kindDelete {
		b = append(b, `,"record":`...)
		b = r.appendRecord(b, only)
	}
	b = append(b, `,"columns":`...)
	b = r.appendColumns(b, only)
	if r.failure == "" {
		b = append(b, `,"errors":null`...)
	} else {
		b = append(b, `,"errors":["`+r.failure+`"]`...)
	}
	b = append(append(b, `,"schema":`...), appendString(nil, r.table.def.Schema)...)
	if r.unfiltered() {
		b = append(b, `,"commit_timestamp":null`...)
	} else {
		b = append(b, `,"commit_timestamp":"`+isoMillis(r.at.Round(time.Millisecond))+`"`...)
	}
	if r.kind != kindInsert {
		b = append(b, `,"old_record":`...)
		b = r.appendOld(b, only)
	}
	return append(b, '}')
}

func (r *rendering) appendRecord(b []byte, only []string) []byte {
	if r.unfiltered() {
		return append(b, "{}"...)
	}
	return appendRecord(b, r.row, func(name string) bool {
		return !r.absent[name] && r.selected(name, only)
	})
}

func (r *rendering) selected(name string, only []string) bool {
	return only == nil || slices.Contains(only, name) || slices.Contains(r.table.def.PrimaryKey, name)
}

// appendOld writes old_record. Under row level security a DELETE shows the key only.
func (r *rendering) appendOld(b []byte, only []string) []byte {
	if r.unfiltered() || r.revoked {
		return append(b, "{}"...)
	}
	keyOnly := !r.table.def.FullIdentity || r.kind == kindDelete && r.table.def.RLS
	return appendRecord(b, r.old, func(name string) bool {
		if keyOnly {
			return slices.Contains(r.table.def.PrimaryKey, name)
		}
		return r.selected(name, only)
	})
}

func appendRecord(b []byte, row Row, include func(string) bool) []byte {
	b = append(b, '{')
	first := true
	for _, name := range sortedKeys(row, jsonbText) {
		if !include(name) {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(appendString(b, name), ": "...)
		b = appendValue(b, row[name])
	}
	return append(b, '}')
}

func (r *rendering) appendColumns(b []byte, only []string) []byte {
	b = append(b, '[')
	if !r.unfiltered() && !r.revoked {
		first := true
		for i := range r.table.def.Columns {
			c := &r.table.def.Columns[i]
			if !r.selected(c.Name, only) {
				continue
			}
			if !first {
				b = append(b, ", "...)
			}
			first = false
			b = append(b, `{"name": "`+c.Name+`", "type": "`+c.Type+`"}`...)
		}
	}
	return append(b, ']')
}
