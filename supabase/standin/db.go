package standin

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// DB is the database: tables, publication and transactions. Safe for concurrent use. Its order of commits is the order in
// which Realtime sees the changes.
type DB struct {
	now   func() time.Time
	newID func() string
	sink  func([]change) // called with mu held, in commit order

	mu          sync.Mutex
	tables      map[string]*table // by qualified name
	children    map[string][]childKey
	publication map[string]bool
	secrets     map[string]string // vault: id -> secret
	vaultIDs    map[string]string // secret without white space -> id
	variant     Variant
	endBroken   bool
	commits     uint64
}

// childKey is one foreign key seen from the table it points to.
type childKey struct {
	table *table
	fk    ForeignKey
}

func newDB(now func() time.Time, newID func() string) *DB {
	if newID == nil {
		newID = uuid.NewString
	}
	return &DB{
		now: now, newID: newID, sink: func([]change) {},
		tables: make(map[string]*table), children: make(map[string][]childKey),
		publication: make(map[string]bool), secrets: make(map[string]string), vaultIDs: make(map[string]string),
		variant: VariantD,
	}
}

// qualified adds the schema public to a bare table name.
func qualified(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return "public." + name
}

// Define adds tables, or replaces tables of the same name together with their rows. Tables are not published by it.
func (db *DB) Define(defs ...TableDef) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, def := range defs {
		t := newTable(def)
		for parent, keys := range db.children {
			db.children[parent] = slices.DeleteFunc(keys, func(c childKey) bool { return c.table.name() == t.name() })
		}
		for _, fk := range t.def.ForeignKeys {
			parent := qualified(fk.RefTable)
			db.children[parent] = append(db.children[parent], childKey{table: t, fk: fk})
		}
		db.tables[t.name()] = t
	}
}

// SetPublication makes the publication supabase_realtime consist of exactly these tables. Channels joined before keep
// their bindings and see no more changes of a table taken out; a channel that failed because its table was missing has to
// join again.
func (db *DB) SetPublication(tables ...string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	clear(db.publication)
	for _, name := range tables {
		db.publication[qualified(name)] = true
	}
}

// Publication lists the published tables, sorted, with their schema.
func (db *DB) Publication() []string {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Sorted(maps.Keys(db.publication))
}

// Revoke takes SELECT on a table from a role: Realtime then answers its changes with error 401, PostgREST with 42501.
func (db *DB) Revoke(table, role string) { db.setRevoked(table, role, true) }

// Grant gives SELECT on a table back to a role.
func (db *DB) Grant(table, role string) { db.setRevoked(table, role, false) }

func (db *DB) setRevoked(name, role string, revoked bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if t := db.tables[qualified(name)]; t != nil {
		t.revoked[role] = revoked
	}
}

// SetRLS switches row level security of a table on or off.
func (db *DB) SetRLS(name string, on bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if t := db.tables[qualified(name)]; t != nil {
		t.def.RLS = on
	}
}

// AddTrigger installs a row trigger that runs after each insert, update and delete of a table.
func (db *DB) AddTrigger(name string, fn Trigger) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if t := db.tables[qualified(name)]; t != nil {
		t.triggers = append(t.triggers, fn)
	}
}

// SetValidateVariant chooses the body of the RPC validate_temp_chat_session. The default is VariantD.
func (db *DB) SetValidateVariant(v Variant) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.variant = v
}

func (db *DB) validateVariant() Variant {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.variant
}

// SetEndBroken makes the RPC end_temp_chat_session fail as deployed, with 42883, or answer again.
func (db *DB) SetEndBroken(broken bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.endBroken = broken
}

func (db *DB) isEndBroken() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.endBroken
}

// Tx runs fn in a transaction: committed when fn returns nil, undone otherwise. The database is locked meanwhile, so fn must
// not call methods of DB.
func (db *DB) Tx(fn func(*Tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	tx := &Tx{db: db, now: db.clock(), direct: true}
	defer func() { tx.done = true }()
	if err := fn(tx); err != nil {
		tx.undoTo(0)
		return err
	}
	tx.publish()
	return nil
}

// Begin opens a transaction that lives beside others until Commit or Rollback; its start is now. What it has written is
// seen by its own reads only. Commit applies its statements again, so a conflict shows as the error of Commit.
func (db *DB) Begin() *Tx {
	return &Tx{db: db, now: db.clock()}
}

// Insert adds one row in a transaction of its own and returns it complete.
func (db *DB) Insert(table string, row Row) (stored Row, err error) {
	err = db.Tx(func(tx *Tx) error {
		stored, err = tx.Insert(table, row)
		return err
	})
	return stored, err
}

// Update changes all rows that equal where (nil = all) and returns how many.
func (db *DB) Update(table string, where, set Row) (n int, err error) {
	err = db.Tx(func(tx *Tx) error {
		n, err = tx.Update(table, where, set)
		return err
	})
	return n, err
}

// Delete removes all rows that equal where (nil = all) and returns how many, cascades not counted.
func (db *DB) Delete(table string, where Row) (n int, err error) {
	err = db.Tx(func(tx *Tx) error {
		n, err = tx.Delete(table, where)
		return err
	})
	return n, err
}

// Row returns a copy of the row with this id; ok is false when there is none.
func (db *DB) Row(table, id string) (row Row, ok bool) {
	rows, err := db.Rows(table, Row{"id": id})
	if err != nil || len(rows) == 0 {
		return nil, false
	}
	return rows[0], true
}

// Rows returns copies of all rows that equal where (nil = all) in order of insertion.
func (db *DB) Rows(table string, where Row) (rows []Row, err error) {
	err = db.Tx(func(tx *Tx) error {
		rows, err = tx.Rows(table, where)
		return err
	})
	return rows, err
}

// Now is the database clock.
func (db *DB) Now() time.Time { return db.now() }

func (db *DB) clock() time.Time { return db.now().UTC().Round(0).Truncate(time.Microsecond) }

func (db *DB) lookup(name string) (*table, error) {
	if t, ok := db.tables[qualified(name)]; ok {
		return t, nil
	}
	schema, bare, _ := strings.Cut(qualified(name), ".")
	return nil, undefinedTable(schema, bare)
}
