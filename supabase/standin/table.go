package standin

import (
	"slices"
	"time"
)

// TableDef describes a table. It is data: tests define further tables with it.
type TableDef struct {
	Schema       string // "" means public
	Name         string
	Columns      []Column
	PrimaryKey   []string // empty: no key, Realtime answers changes with error 400
	FullIdentity bool     // REPLICA IDENTITY FULL
	Unique       []Unique
	Checks       []Check
	ForeignKeys  []ForeignKey
	Indexed      []string // columns whose equality filters should not scan the table

	// RLS enables row level security: roles other than service_role read only rows that Readable grants, and write nothing.
	RLS      bool
	Readable func(role string, row Row, now time.Time) bool

	// Before runs ahead of INSERT (old nil) and UPDATE and may change row. After runs behind INSERT, UPDATE (both rows) and
	// DELETE (row nil) in the same transaction.
	Before func(now time.Time, old, row Row)
	After  Trigger
}

// Trigger runs inside a transaction after one row changed; old is nil for INSERT, row is nil for DELETE. An error undoes the
// statement. It must not change the rows it is given.
type Trigger func(tx *Tx, old, row Row) error

// Column describes one column; Type is a pg_type.typname such as uuid, text, int8, timestamptz, jsonb or _text.
type Column struct {
	Name      string
	Type      string
	NotNull   bool
	MaxLength int // varchar(n); 0 = no limit
	Scale     int // numeric(p,s); 0 = as given
	Identity  bool
	Default   func(Defaults) any

	cast func(text string) (any, error) // reads a filter's literal in place of parse
}

// Defaults is what column defaults are computed from.
type Defaults struct {
	Now   time.Time     // start of the transaction
	NewID func() string // a fresh UUID
}

// Check is a named CHECK constraint; OK sees the complete row.
type Check struct {
	Name string
	OK   func(Row) bool
}

// Unique is a named UNIQUE constraint. Rows with a NULL in one of the columns never collide.
type Unique struct {
	Name    string
	Columns []string
}

// ForeignKey points from Column to RefTable.RefColumn (schema public).
type ForeignKey struct {
	Name                string
	Column              string
	RefTable, RefColumn string
	SetNull             bool // ON DELETE SET NULL; otherwise CASCADE
}

// record is the place of a row; row is replaced by updates, never changed.
type record struct {
	row  Row
	dead bool
	seq  uint64
}

// table holds rows in insertion order plus look-ups. Guarded by DB.mu, except def and columns, which never change.
type table struct {
	def      TableDef
	columns  map[string]*Column
	lookups  map[string]map[string][]*record // column -> value text -> records
	rows     []*record
	dead     int
	nextSeq  uint64
	identity int64
	revoked  map[string]bool // roles without SELECT
	triggers []Trigger
}

func newTable(def TableDef) *table {
	if def.Schema == "" {
		def.Schema = "public"
	}
	def.Columns = slices.Clone(def.Columns)
	t := &table{
		def:     def,
		columns: make(map[string]*Column, len(def.Columns)),
		lookups: make(map[string]map[string][]*record),
		revoked: make(map[string]bool),
	}
	for i := range t.def.Columns {
		t.columns[t.def.Columns[i].Name] = &t.def.Columns[i]
	}
	looked := slices.Clone(def.Indexed)
	if len(def.PrimaryKey) > 0 {
		looked = append(looked, def.PrimaryKey[0])
	}
	for _, u := range def.Unique {
		looked = append(looked, u.Columns[0])
	}
	for _, fk := range def.ForeignKeys {
		looked = append(looked, fk.Column)
	}
	for _, column := range looked {
		t.lookups[column] = make(map[string][]*record)
	}
	if def.After != nil {
		t.triggers = append(t.triggers, def.After)
	}
	return t
}

// name is the qualified name, as the publication and the catalogue use it.
func (t *table) name() string { return t.def.Schema + "." + t.def.Name }

func lookupKey(v any) string { return string(appendValue(nil, v)) }

func (t *table) link(rec *record) {
	for column, values := range t.lookups {
		if v := rec.row[column]; v != nil {
			key := lookupKey(v)
			values[key] = append(values[key], rec)
		}
	}
}

func (t *table) unlink(rec *record) {
	for column, values := range t.lookups {
		v := rec.row[column]
		if v == nil {
			continue
		}
		key := lookupKey(v)
		left := slices.DeleteFunc(values[key], func(r *record) bool { return r == rec })
		if len(left) == 0 {
			delete(values, key)
		} else {
			values[key] = left
		}
	}
}

func (t *table) add(rec *record) {
	rec.dead = false
	t.link(rec)
}

func (t *table) drop(rec *record) {
	rec.dead = true
	t.unlink(rec)
}

// find gives the live records whose column holds v, in insertion order where a look-up exists, else by a scan.
func (t *table) find(column string, v any) []*record {
	if v == nil {
		return nil
	}
	if values, ok := t.lookups[column]; ok {
		return values[lookupKey(v)]
	}
	var found []*record
	for _, rec := range t.rows {
		if !rec.dead && rec.row[column] != nil && compareValues(rec.row[column], v) == 0 {
			found = append(found, rec)
		}
	}
	return found
}

// byKey finds the record with the primary key of row.
func (t *table) byKey(row Row) *record {
	if len(t.def.PrimaryKey) == 0 {
		return nil
	}
	return t.collision(row, t.def.PrimaryKey, nil)
}

// collision finds a live record other than self that equals row in all columns given.
func (t *table) collision(row Row, columns []string, self *record) *record {
	for _, column := range columns {
		if row[column] == nil {
			return nil
		}
	}
next:
	for _, rec := range t.find(columns[0], row[columns[0]]) {
		if rec == self || rec.dead {
			continue
		}
		for _, column := range columns[1:] {
			if rec.row[column] == nil || compareValues(rec.row[column], row[column]) != 0 {
				continue next
			}
		}
		return rec
	}
	return nil
}

// compact drops dead records once they are the majority.
func (t *table) compact(removed int) {
	t.dead += removed
	if t.dead*2 < len(t.rows)+16 {
		return
	}
	t.rows = slices.DeleteFunc(t.rows, func(r *record) bool { return r.dead })
	t.dead = 0
}

// key gives the primary key columns of row.
func (t *table) key(row Row) Row {
	key := make(Row, len(t.def.PrimaryKey))
	for _, column := range t.def.PrimaryKey {
		key[column] = row[column]
	}
	return key
}

// readable reports whether role may see row under row level security.
func (t *table) readable(role string, row Row, now time.Time) bool {
	if !t.def.RLS || role == roleService {
		return true
	}
	return t.def.Readable != nil && t.def.Readable(role, row, now)
}
