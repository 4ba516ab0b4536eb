package standin

import (
	"encoding/json"
	"slices"
	"time"
)

// Tx is a transaction. It belongs to one goroutine. A statement that fails leaves nothing behind; the transaction stays usable.
type Tx struct {
	db     *DB
	now    time.Time
	direct bool // the database is locked for the whole transaction

	ops     []func() error // statements so far; only when not direct
	undo    []func()
	changes []change
	removed map[*table]int
	done    bool
}

// Start is the transaction's now(): the default of created_at.
func (tx *Tx) Start() time.Time { return tx.now }

// Insert adds a row and returns it complete.
func (tx *Tx) Insert(name string, row Row) (Row, error) {
	var full Row
	err := tx.exec(func() error {
		t, err := tx.db.lookup(name)
		if err != nil {
			return err
		}
		if full == nil {
			if full, err = t.complete(row, Defaults{Now: tx.now, NewID: tx.db.newID}); err != nil {
				return err
			}
		}
		full, err = tx.insert(t, full)
		return err
	})
	if err != nil {
		return nil, err
	}
	return full.clone(), nil
}

// Update changes all rows that equal where and returns how many.
func (tx *Tx) Update(name string, where, set Row) (n int, err error) {
	err = tx.exec(func() error {
		t, recs, err := tx.matching(name, where)
		if err != nil {
			return err
		}
		n = len(recs)
		for _, rec := range recs {
			if _, err := tx.update(t, rec, set); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Delete removes all rows that equal where and returns how many, cascades not counted.
func (tx *Tx) Delete(name string, where Row) (n int, err error) {
	err = tx.exec(func() error {
		t, recs, err := tx.matching(name, where)
		if err != nil {
			return err
		}
		n = len(recs)
		for _, rec := range recs {
			if err := tx.remove(t, rec); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Rows returns copies of the rows that equal where, in order of insertion, own writes included.
func (tx *Tx) Rows(name string, where Row) (rows []Row, err error) {
	err = tx.read(func() error {
		_, recs, err := tx.matching(name, where)
		rows = make([]Row, len(recs))
		for i, rec := range recs {
			rows[i] = rec.row.clone()
		}
		return err
	})
	return rows, err
}

// Send is realtime.send: a broadcast from the database to a topic (without the realtime: prefix), delivered on commit.
func (tx *Tx) Send(topic, event string, payload json.RawMessage, private bool) error {
	id := tx.db.newID()
	return tx.exec(func() error {
		tx.changes = append(tx.changes, change{send: &broadcast{
			topic: "realtime:" + topic, event: event, private: private, json: true,
			payload: payload, meta: json.RawMessage(`{"id":"` + id + `"}`),
		}})
		return nil
	})
}

// Commit makes the transaction's writes visible and sends their changes. Only for transactions of Begin.
func (tx *Tx) Commit() error {
	if tx.done || tx.direct {
		return ErrTxDone
	}
	tx.done = true
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	for _, op := range tx.ops {
		if err := op(); err != nil {
			tx.undoTo(0)
			return err
		}
	}
	tx.publish()
	return nil
}

// Rollback drops the transaction's writes. Only for transactions of Begin; a no-op after Commit.
func (tx *Tx) Rollback() { tx.done = true }

// exec runs a statement. Outside a locked transaction it runs on top of the earlier statements and all is undone again:
// nobody else sees it before Commit.
func (tx *Tx) exec(op func() error) error {
	if tx.done {
		return ErrTxDone
	}
	if tx.direct {
		mark := len(tx.undo)
		changed := len(tx.changes)
		err := op()
		if err != nil {
			tx.undoTo(mark)
			tx.changes = tx.changes[:changed]
		}
		return err
	}
	err := tx.read(op)
	if err == nil {
		tx.ops = append(tx.ops, op)
	}
	return err
}

func (tx *Tx) read(op func() error) error {
	if tx.done {
		return ErrTxDone
	}
	if tx.direct {
		return op()
	}
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	defer tx.undoTo(0)
	for _, earlier := range tx.ops {
		if err := earlier(); err != nil {
			return err
		}
	}
	return op()
}

func (tx *Tx) undoTo(mark int) {
	for i := len(tx.undo) - 1; i >= mark; i-- {
		tx.undo[i]()
	}
	tx.undo = tx.undo[:mark]
	if mark == 0 {
		tx.changes = nil
		tx.removed = nil
	}
}

func (tx *Tx) publish() {
	for t, n := range tx.removed {
		t.compact(n)
	}
	if len(tx.changes) == 0 {
		return
	}
	tx.db.commits++
	at := tx.db.clock()
	for i := range tx.changes {
		tx.changes[i].at = at
	}
	tx.db.sink(tx.changes)
}

// matching gives the live records that equal where.
func (tx *Tx) matching(name string, where Row) (*table, []*record, error) {
	t, err := tx.db.lookup(name)
	if err != nil {
		return nil, nil, err
	}
	want := make(Row, len(where))
	candidates := t.rows
	for column, v := range where {
		c, ok := t.columns[column]
		if !ok {
			return nil, nil, undefinedColumn(t.def.Name, column)
		}
		if want[column], err = c.canonical(v); err != nil {
			return nil, nil, err
		}
		if _, ok := t.lookups[column]; ok && want[column] != nil {
			candidates = t.find(column, want[column])
		}
	}
	var recs []*record
	for _, rec := range candidates {
		if !rec.dead && rec.row.equals(want) {
			recs = append(recs, rec)
		}
	}
	sortRecords(recs)
	return t, recs, nil
}

func sortRecords(recs []*record) {
	slices.SortFunc(recs, func(a, b *record) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
}

func (r Row) equals(want Row) bool {
	for column, v := range want {
		have := r[column]
		if (have == nil) != (v == nil) {
			return false
		}
		if v != nil && compareValues(have, v) != 0 {
			return false
		}
	}
	return true
}
