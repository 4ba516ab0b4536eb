package feed

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// maxPages bounds one batched read; what is left is read on by whoever needs it.
const maxPages = 20

// span says which rows are read: those created since, and if changed is not zero, of these only what was created or updated since then.
type span struct{ since, changed time.Time }

// reading is what a read of some conversations showed.
type reading struct {
	rows map[string][]*chat.Row // by conversation
	span span
	// readAt is a time that the database's clock had reached when the read began.
	readAt time.Time
	// whole says that every row was read; if not, last is where to go on.
	whole bool
	last  rest.Position
}

// readSpan reads the rows of a span of up to maxBatch conversations.
func (f *Feed) readSpan(ctx context.Context, ids []string, s span) (*reading, error) {
	r := &reading{span: s, rows: make(map[string][]*chat.Row, len(ids))}
	for page := range maxPages {
		p, rows, err := f.readPage(ctx, ids, s, r.last)
		if err != nil {
			return nil, err
		}
		if page == 0 {
			r.readAt = p.ServerTime
		}
		for _, row := range rows {
			r.rows[row.ConversationID] = append(r.rows[row.ConversationID], row)
		}
		if !p.More {
			r.whole = true
			return r, nil
		}
		r.last = p.Last
	}
	return r, nil
}

// readOn reads the page after a reading that was not whole.
func (f *Feed) readOn(ctx context.Context, ids []string, r *reading) (*reading, error) {
	next := &reading{span: r.span, rows: make(map[string][]*chat.Row), readAt: r.readAt, last: r.last}
	p, rows, err := f.readPage(ctx, ids, r.span, r.last)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		next.rows[row.ConversationID] = append(next.rows[row.ConversationID], row)
	}
	next.last, next.whole = p.Last, !p.More
	return next, nil
}

// readPage reads a page of a span, from its start or after a position.
func (f *Feed) readPage(ctx context.Context, ids []string, s span, after rest.Position) (rest.Page, []*chat.Row, error) {
	q := rest.MessagesQuery{Conversations: ids, Since: s.since, ChangedSince: s.changed, After: after}
	if !after.IsZero() {
		q.Since = time.Time{}
	}
	p, err := f.opts.Store.Messages(ctx, q)
	f.noteRead(err)
	f.metrics.read(err)
	if err != nil {
		return p, nil, err
	}
	return p, f.decode(p.Rows), nil
}

func (f *Feed) decode(raw []json.RawMessage) []*chat.Row {
	rows := make([]*chat.Row, 0, len(raw))
	for _, r := range raw {
		row, err := chat.DecodeRow(r, nil)
		if err != nil {
			f.log.Warn("unreadable row", "err", err)
			continue
		}
		rows = append(rows, row)
	}
	return rows
}
