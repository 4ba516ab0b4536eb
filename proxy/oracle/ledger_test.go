package oracle_test

import (
	"encoding/json"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// version is a state of a row from its commit on. A nil row is a deleted one.
type version struct {
	id      string
	at      time.Duration
	seq     int // place among all commits
	created time.Time
	row     standin.Row
	st      statement
}

// ledger is what was committed, in order.
type ledger struct {
	seq  int
	rows map[string][]version // by id, oldest first
	ids  []string             // in order of their first commit
}

func newLedger() *ledger { return &ledger{rows: make(map[string][]version)} }

// stock takes in the rows that are there before the run.
func (l *ledger) stock(rows []standin.Row) error {
	for _, row := range rows {
		var content map[string]any
		if err := json.Unmarshal(row["content"].(json.RawMessage), &content); err != nil {
			return err
		}
		row["content"] = content
		l.seq++
		id := row["id"].(string)
		l.ids = append(l.ids, id)
		l.rows[id] = []version{{id: id, seq: l.seq, created: row["created_at"].(time.Time), row: row, st: statement{Op: "insert", Kind: greeting}}}
	}
	return nil
}

// openWrite is a transaction under way.
type openWrite struct {
	plan  *writePlan
	tx    *standin.Tx
	wrote []version
}

// begin opens a transaction and makes its statements.
func (w *world) begin(plan *writePlan) (*openWrite, error) {
	o := &openWrite{plan: plan, tx: w.standin.DB().Begin()}
	for i := range plan.Statements {
		st := &plan.Statements[i]
		row := w.row(st, o.tx.Start())
		v := version{id: row["id"].(string), row: row, st: *st}
		var err error
		switch st.Op {
		case "insert":
			var stored standin.Row
			if stored, err = o.tx.Insert(standin.TableMessages, row); err == nil {
				v.created = stored["created_at"].(time.Time)
			}
		case "update":
			_, err = o.tx.Update(standin.TableMessages, standin.Row{"id": row["id"]}, standin.Row{"content": row["content"]})
		default:
			_, err = o.tx.Delete(standin.TableMessages, standin.Row{"id": row["id"]})
			v.row = nil
		}
		if err != nil {
			return nil, err
		}
		o.wrote = append(o.wrote, v)
	}
	return o, nil
}

// commit ends the transaction as planned and writes it down.
func (l *ledger) commit(o *openWrite, now func() time.Duration) error {
	if o.plan.Rollback {
		o.tx.Rollback()
		return nil
	}
	if err := o.tx.Commit(); err != nil {
		return err
	}
	for _, v := range o.wrote {
		id := v.id
		l.seq++
		v.at, v.seq = now(), l.seq
		if earlier := l.rows[id]; len(earlier) > 0 {
			v.created = earlier[0].created
		} else {
			l.ids = append(l.ids, id)
		}
		l.rows[id] = append(l.rows[id], v)
	}
	return nil
}
