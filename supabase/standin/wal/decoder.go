package wal

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// Marks of a column in a pgoutput tuple.
const (
	valueNull      = pglogrepl.TupleDataTypeNull
	valueUnchanged = pglogrepl.TupleDataTypeToast
	oldTupleFull   = pglogrepl.UpdateMessageTupleTypeOld
)

// decoder turns pgoutput messages into transactions. Owned by one goroutine.
type decoder struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	relations map[uint32]*relation
	types     map[uint32]*valueType
	began     bool
	xid       uint32 // of the transaction that has begun
	pending   []pendingChange
	end       pglogrepl.LSN // behind the last commit
}

// pendingChange is a row event whose values are still text.
type pendingChange struct {
	relation *relation
	kind     string
	row, old []textValue // in the order of the relation's columns; nil when there is none
}

// textValue is one column of a tuple.
type textValue struct {
	text    string
	present bool // false: a toasted value left in place, or not part of the replica identity
	null    bool
}

func newDecoder(pool *pgxpool.Pool, log *slog.Logger) *decoder {
	return &decoder{pool: pool, log: log, relations: make(map[uint32]*relation), types: make(map[uint32]*valueType)}
}

// open reports whether a transaction has begun and not ended.
func (d *decoder) open() bool { return d.began }

// take reads one message; it gives the changes of a transaction with its commit.
func (d *decoder) take(ctx context.Context, data []byte) ([]standin.Change, error) {
	message, err := pglogrepl.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("decode pgoutput message: %w", err)
	}
	switch m := message.(type) {
	case *pglogrepl.BeginMessage:
		d.began, d.xid = true, m.Xid
	case *pglogrepl.RelationMessage:
		return nil, d.describe(ctx, m)
	case *pglogrepl.InsertMessage:
		return nil, d.add(m.RelationID, "INSERT", m.Tuple, nil, 0)
	case *pglogrepl.UpdateMessage:
		return nil, d.add(m.RelationID, "UPDATE", m.NewTuple, m.OldTuple, m.OldTupleType)
	case *pglogrepl.DeleteMessage:
		return nil, d.add(m.RelationID, "DELETE", nil, m.OldTuple, m.OldTupleType)
	case *pglogrepl.CommitMessage:
		pending := d.pending
		d.began, d.pending, d.end = false, nil, m.TransactionEndLSN
		if len(pending) == 0 {
			return nil, nil
		}
		if err := awaitVisible(ctx, d.pool, d.xid); err != nil {
			return nil, err
		}
		return d.convert(ctx, pending, m.CommitTime)
	}
	return nil, nil
}

func (d *decoder) add(id uint32, kind string, row, old *pglogrepl.TupleData, oldType uint8) error {
	r := d.relations[id]
	if r == nil {
		return fmt.Errorf("%s of a relation that was not described: %d", kind, id)
	}
	p := pendingChange{relation: r, kind: kind}
	if old != nil {
		p.old = r.tuple(old, oldType != oldTupleFull)
	}
	if row != nil {
		p.row = r.tuple(row, false)
	}
	for i := range p.row { // replica identity full: the old tuple has what the new one leaves out
		if !p.row[i].present && i < len(p.old) && p.old[i].present {
			p.row[i] = p.old[i]
		}
	}
	if kind == "UPDATE" && p.old == nil {
		p.old = r.keyOf(p.row)
	}
	d.pending = append(d.pending, p)
	return nil
}

// tuple copies the values out of the connection's buffer.
func (r *relation) tuple(t *pglogrepl.TupleData, keyOnly bool) []textValue {
	values := make([]textValue, len(r.columns))
	for i := range min(len(t.Columns), len(values)) {
		c := t.Columns[i]
		if c.DataType == valueUnchanged || keyOnly && !r.columns[i].identity {
			continue
		}
		values[i] = textValue{text: string(c.Data), present: true, null: c.DataType == valueNull}
	}
	return values
}

// keyOf gives the replica identity of a row whose identity did not change.
func (r *relation) keyOf(row []textValue) []textValue {
	key := make([]textValue, len(row))
	for i := range row {
		if r.columns[i].identity {
			key[i] = row[i]
		}
	}
	return key
}
