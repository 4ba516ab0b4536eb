package feed

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// readersAtOnce bounds the batched reads of one round. Those of a reconciling round, for which nobody waits, come one after the other, so
// that decoding them does not take all processors from live rows.
const readersAtOnce = 4

// catchUp reads back the conversations from what is proved, gives everybody what they lack, and records what is proved now. Live rows of
// a conversation wait meanwhile, but not for a reconciling read: where the channel is live, nothing is known to be missing. After an
// entry to live the rows that visitors see are compared as well.
func (f *Feed) catchUp(ctx context.Context, interests []chat.Interest, kind readKind) error {
	shown := newComparison()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readersAtOnce)
	if kind == readReconcile {
		g.SetLimit(1)
	}
	slices.SortFunc(interests, func(a, b chat.Interest) int { return a.Proved.Compare(b.Proved) })
	for batch := range slices.Chunk(interests, maxBatch) {
		g.Go(func() error { return f.catchUpBatch(gctx, batch, kind, shown) })
	}
	if err := g.Wait(); err != nil || kind != readCatchUp {
		return err
	}
	return f.compare(ctx, shown)
}

func (f *Feed) catchUpBatch(ctx context.Context, batch []chat.Interest, kind readKind, shown *comparison) error {
	ids := make([]string, len(batch))
	for i, in := range batch {
		ids[i] = in.ConversationID
	}
	if kind != readReconcile {
		defer f.hub.Hold(ids)()
	}
	var known map[string]string
	if kind == readCatchUp {
		known = knownIn(f.hub, batch)
	}
	r, err := f.readSpan(ctx, ids, f.spanOf(batch, kind))
	for err == nil {
		forgetRead(known, r)
		if err = f.recoverRows(ctx, ids, r, kind); err != nil || r.whole {
			break
		}
		// What is read so far is delivered, so that memory stays bounded.
		r, err = f.readOn(ctx, ids, r)
	}
	if err == nil {
		shown.add(known)
	}
	return err
}

// spanOf is what a read of a batch, whose first conversation was proved longest ago, asks for. What a reconciling read leaves out was
// committed long after its created_at, and lost by the channel: the next whole one shows it.
func (f *Feed) spanOf(batch []chat.Interest, kind readKind) span {
	overlap := f.opts.CatchUpOverlap
	if planted == "skip the overlap" {
		overlap = 0
	}
	s := span{since: batch[0].Proved.Add(-overlap)}
	if kind == readReconcile && f.opts.Store.Now().Sub(batch[0].Proved) < wholeEvery {
		s.changed = slices.MinFunc(batch, byLooked).Looked.Add(-lookBack)
	}
	return s
}

// forgetRead drops the rows that a read has shown.
func forgetRead(known map[string]string, r *reading) {
	for _, rows := range r.rows {
		for _, row := range rows {
			delete(known, row.ID)
		}
	}
}

// recoverRows gives the rows to the hub with a scope read after them, and records what a whole reading proved.
func (f *Feed) recoverRows(ctx context.Context, ids []string, r *reading, kind readKind) error {
	if kind == readReconcile {
		f.leaveYoung(r)
	}
	var ask []string
	for _, id := range ids {
		if f.hub.WantsScope(id, r.rows[id]) {
			ask = append(ask, id)
		}
	}
	scopes, err := f.readScopes(ctx, ask)
	if err != nil {
		return err
	}
	for _, id := range ids {
		news := f.hub.Recover(id, r.rows[id], scopes[id], f.unbrought(r.rows[id], kind))
		f.metrics.recover(news)
		switch {
		case !r.whole:
		case r.span.changed.IsZero():
			f.hub.SetProved(id, r.readAt, f.opts.CatchUpOverlap)
		default:
			f.hub.SetLooked(id, r.readAt)
		}
	}
	return nil
}

// leaveYoung drops rows that the channel may still be about to bring. A row far ahead of the clock would be young for ever.
func (f *Feed) leaveYoung(r *reading) {
	now := f.opts.Store.Now()
	from, to := now.Add(-settle), now.Add(freshFor)
	for id, rows := range r.rows {
		r.rows[id] = slices.DeleteFunc(rows, func(row *chat.Row) bool {
			return row.CreatedAt.After(from) && row.CreatedAt.Before(to)
		})
	}
}

// unbrought returns what to call with the rows that a read found before the channel brought them, nil where the channel does not have to:
// while it is not live, and for rows from before it was.
func (f *Feed) unbrought(rows []*chat.Row, kind readKind) func(id string) {
	since := f.liveAt.Load()
	if kind == readCatchUp || since == 0 {
		return nil
	}
	return func(id string) {
		for _, row := range rows {
			if row.ID == id && row.CreatedAt.UnixMicro() > since {
				f.missing.add(id, foundRow{at: time.Now(), database: f.opts.Store.Now(), created: row.CreatedAt})
			}
		}
	}
}

// CatchUp reads back one conversation now, so that whatever was stored before the call has been published.
func (f *Feed) CatchUp(ctx context.Context, conversationID string) error {
	return f.refuse(f.catchUp(ctx, f.hub.InterestsOf([]string{conversationID}), readPoll))
}

// fillGaps reads the conversations whose held rows were dropped.
func (f *Feed) fillGaps(ctx context.Context) {
	wait := backoff{min: 200 * time.Millisecond, max: 5 * time.Second, rand: f.opts.Realtime.Rand}
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.gaps.ready:
		}
		ids := f.gaps.take(maxBatch)
		if err := f.catchUp(ctx, f.hub.InterestsOf(ids), readPoll); err == nil {
			wait.reset()
			continue
		}
		for _, id := range ids {
			f.gaps.add(id)
		}
		if !sleep(ctx, wait.next()) {
			return
		}
	}
}
