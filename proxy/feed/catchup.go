package feed

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// readersAtOnce bounds the batched reads of one round.
	readersAtOnce = 4
	// settle is how old a row must be before a reconciling read takes it for missing: the channel needs up to 0.6 s.
	settle = time.Second
	// reconcileBatches bounds the queries of one reconciling round.
	reconcileBatches = 5
	activeFor        = time.Minute
)

// catchUp reads back the conversations from what is proved, gives everybody what they lack, and records what is proved now. Live rows of
// a conversation wait meanwhile, but not for a reconciling read: where the channel is live, nothing is known to be missing.
func (f *Feed) catchUp(ctx context.Context, interests []chat.Interest, reconciling bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readersAtOnce)
	slices.SortFunc(interests, func(a, b chat.Interest) int { return a.Proved.Compare(b.Proved) })
	for batch := range slices.Chunk(interests, maxBatch) {
		g.Go(func() error { return f.catchUpBatch(ctx, batch, reconciling) })
	}
	return g.Wait()
}

func (f *Feed) catchUpBatch(ctx context.Context, batch []chat.Interest, reconciling bool) error {
	ids := make([]string, len(batch))
	for i, in := range batch {
		ids[i] = in.ConversationID
	}
	if !reconciling {
		defer f.hub.Hold(ids)()
	}
	since := batch[0].Proved.Add(-f.opts.CatchUpOverlap)
	r, err := f.readSince(ctx, ids, since)
	if err != nil {
		return err
	}
	for !r.whole {
		if r, err = f.recoverAndReadOn(ctx, ids, r); err != nil {
			return err
		}
	}
	return f.recoverRows(ctx, ids, r, reconciling)
}

// recoverAndReadOn delivers what is read so far and reads the next pages, so that memory stays bounded.
func (f *Feed) recoverAndReadOn(ctx context.Context, ids []string, r *reading) (*reading, error) {
	if err := f.recoverRows(ctx, ids, &reading{rows: r.rows}, false); err != nil {
		return nil, err
	}
	next := &reading{rows: make(map[string][]*chat.Row), readAt: r.readAt, last: r.last}
	p, rows, err := f.readPage(ctx, ids, time.Time{}, r.last)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		next.rows[row.ConversationID] = append(next.rows[row.ConversationID], row)
	}
	next.last, next.whole = p.Last, !p.More
	return next, nil
}

// recoverRows gives the rows to the hub with a scope read after them, and records what the reading proved.
func (f *Feed) recoverRows(ctx context.Context, ids []string, r *reading, reconciling bool) error {
	if reconciling {
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
		news := f.hub.Recover(id, r.rows[id], scopes[id], f.foundBy(reconciling))
		f.metrics.recover(news)
		if !r.readAt.IsZero() {
			f.hub.SetProved(id, r.readAt, f.opts.CatchUpOverlap)
		}
	}
	return nil
}

// leaveYoung drops rows that the channel may still be about to bring.
func (f *Feed) leaveYoung(r *reading) {
	edge := f.opts.Store.Now().Add(-settle)
	for id, rows := range r.rows {
		r.rows[id] = slices.DeleteFunc(rows, func(row *chat.Row) bool { return row.CreatedAt.After(edge) })
	}
}

func (f *Feed) foundBy(reconciling bool) func(id string) {
	if !reconciling {
		return nil
	}
	return f.missing.add
}

// CatchUp reads back one conversation now, so that whatever was stored before the call has been published.
func (f *Feed) CatchUp(ctx context.Context, conversationID string) error {
	for _, in := range f.hub.Interests() {
		if in.ConversationID == conversationID {
			return f.refuse(f.catchUp(ctx, []chat.Interest{in}, false))
		}
	}
	return nil
}

// reconcile reads the conversations that are worth a look while the channel is live: the busy ones first, then the others in turn.
func (f *Feed) reconcile(ctx context.Context) error {
	now := f.opts.Store.Now()
	interests := f.hub.Interests()
	slices.SortStableFunc(interests, func(a, b chat.Interest) int {
		return cmp.Or(activeFirst(a, b, now), a.Proved.Compare(b.Proved))
	})
	if most := reconcileBatches * maxBatch; len(interests) > most {
		interests = interests[:most]
	}
	return f.catchUp(ctx, interests, true)
}

func activeFirst(a, b chat.Interest, now time.Time) int {
	activeA, activeB := now.Sub(a.Activity) < activeFor, now.Sub(b.Activity) < activeFor
	switch {
	case activeA == activeB:
		return 0
	case activeA:
		return -1
	}
	return 1
}
