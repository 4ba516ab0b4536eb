package standin

import "slices"

func (tx *Tx) insert(t *table, row Row) (Row, error) {
	if t.def.Before != nil {
		row = row.clone()
		t.def.Before(tx.now, nil, row)
	}
	if err := t.validate(row, nil); err != nil {
		return nil, err
	}
	if err := tx.checkReferences(t, nil, row); err != nil {
		return nil, err
	}
	t.nextSeq++
	rec := &record{row: row, seq: t.nextSeq}
	t.rows = append(t.rows, rec)
	t.add(rec)
	tx.undo = append(tx.undo, func() {
		t.drop(rec)
		t.rows = slices.DeleteFunc(t.rows, func(r *record) bool { return r == rec })
	})
	tx.changes = append(tx.changes, change{table: t, kind: kindInsert, row: row})
	return row, tx.fire(t, nil, row)
}

func (tx *Tx) update(t *table, rec *record, set Row) (Row, error) {
	old := rec.row
	row := old.clone()
	for name, v := range set {
		column, ok := t.columns[name]
		if !ok {
			return nil, undefinedColumn(t.def.Name, name)
		}
		stored, err := column.canonical(v)
		if err != nil {
			return nil, err
		}
		row[name] = stored
	}
	if t.def.Before != nil {
		t.def.Before(tx.now, old, row)
	}
	if err := t.validate(row, rec); err != nil {
		return nil, err
	}
	if err := tx.checkReferences(t, old, row); err != nil {
		return nil, err
	}
	t.replace(rec, row)
	tx.undo = append(tx.undo, func() { t.replace(rec, old) })
	tx.changes = append(tx.changes, change{table: t, kind: kindUpdate, old: old, row: row})
	return row, tx.fire(t, old, row)
}

func (t *table) replace(rec *record, row Row) {
	t.unlink(rec)
	rec.row = row
	t.link(rec)
}

func (tx *Tx) remove(t *table, rec *record) error {
	if rec.dead {
		return nil // a cascade of this statement was faster
	}
	row := rec.row
	t.drop(rec)
	if tx.removed == nil {
		tx.removed = make(map[*table]int)
	}
	tx.removed[t]++
	tx.undo = append(tx.undo, func() { t.add(rec) })
	tx.changes = append(tx.changes, change{table: t, kind: kindDelete, old: row})
	for _, child := range tx.db.children[t.name()] {
		if err := tx.cascade(t, row, child); err != nil {
			return err
		}
	}
	return tx.fire(t, row, nil)
}

func (tx *Tx) cascade(t *table, row Row, child childKey) error {
	v := row[child.fk.RefColumn]
	if v == nil || len(t.find(child.fk.RefColumn, v)) > 0 {
		return nil
	}
	recs := slices.Clone(child.table.find(child.fk.Column, v))
	sortRecords(recs)
	for _, rec := range recs {
		var err error
		if child.fk.SetNull {
			_, err = tx.update(child.table, rec, Row{child.fk.Column: nil})
		} else {
			err = tx.remove(child.table, rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) checkReferences(t *table, old, row Row) error {
	for _, fk := range t.def.ForeignKeys {
		v := row[fk.Column]
		if v == nil || old != nil && old[fk.Column] == v {
			continue
		}
		parent, err := tx.db.lookup(fk.RefTable)
		if err != nil {
			return err
		}
		if len(parent.find(fk.RefColumn, v)) == 0 {
			return pgErrorf("23503", "insert or update on table %q violates foreign key constraint %q", t.def.Name, fk.Name)
		}
	}
	return nil
}

func (tx *Tx) fire(t *table, old, row Row) error {
	for _, trigger := range t.triggers {
		if err := trigger(tx, old, row); err != nil {
			return err
		}
	}
	return nil
}
