package feed

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// joinRead is one joiner's wish to read a conversation. Whoever joins at the same time shares the query.
type joinRead struct {
	conversationID string
	since          time.Time
	wantsScope     func([]*chat.Row) bool

	// set before done is closed
	rows   []*chat.Row
	scope  *chat.Scope
	readAt time.Time
	whole  bool
	last   rest.Position
	err    error
	done   chan struct{}
}

// readForJoins collects wishes into batches: while the allowed number of queries is under way, those who come wait for the next one, so a
// storm costs a query for a hundred conversations and a single visitor does not wait.
func (f *Feed) readForJoins(ctx context.Context) {
	var g errgroup.Group
	defer func() { _ = g.Wait() }() // the functions return nil: each wish has its own error
	free := make(chan struct{}, readersAtOnce)
	var waiting []*joinRead
	for {
		start := free
		if len(waiting) == 0 {
			start = nil
		}
		wishes := f.joins
		if len(waiting) >= 100*maxBatch {
			wishes = nil
		}
		select {
		case <-ctx.Done():
			for _, j := range waiting {
				j.fail(ctx.Err())
			}
			return
		case j := <-wishes:
			waiting = append(waiting, j)
		case start <- struct{}{}:
			var batch []*joinRead
			batch, waiting = nextBatch(waiting)
			g.Go(func() error {
				f.serveJoins(ctx, batch)
				<-free
				return nil
			})
		}
	}
}

// nextBatch takes wishes that reach about as far back as the first: one that goes back hours must not make a hundred others do so.
func nextBatch(waiting []*joinRead) (batch, rest []*joinRead) {
	conversations := make(map[string]bool)
	for _, j := range waiting {
		near := j.since.Sub(waiting[0].since).Abs() <= time.Minute
		if !near || !conversations[j.conversationID] && len(conversations) == maxBatch {
			rest = append(rest, j)
			continue
		}
		conversations[j.conversationID] = true
		batch = append(batch, j)
	}
	return batch, rest
}

func (f *Feed) serveJoins(ctx context.Context, batch []*joinRead) {
	var ids []string
	seen := make(map[string]bool)
	since := batch[0].since
	for _, j := range batch {
		if !seen[j.conversationID] {
			seen[j.conversationID] = true
			ids = append(ids, j.conversationID)
		}
		if j.since.Before(since) {
			since = j.since
		}
	}
	r, err := f.readSpan(ctx, ids, span{since: since})
	var scopes map[string]*chat.Scope
	if err == nil {
		scopes, err = f.readScopes(ctx, scopesWanted(batch, r))
	}
	for _, j := range batch {
		if err != nil {
			j.fail(err)
			continue
		}
		for _, row := range r.rows[j.conversationID] {
			if !row.CreatedAt.Before(j.since) {
				j.rows = append(j.rows, row)
			}
		}
		j.scope, j.readAt, j.whole, j.last = scopes[j.conversationID], r.readAt, r.whole, r.last
		close(j.done)
	}
}

func scopesWanted(batch []*joinRead, r *reading) []string {
	var ids []string
	seen := make(map[string]bool)
	for _, j := range batch {
		if !seen[j.conversationID] && j.wantsScope(r.rows[j.conversationID]) {
			seen[j.conversationID] = true
			ids = append(ids, j.conversationID)
		}
	}
	return ids
}

func (j *joinRead) fail(err error) {
	j.err = err
	close(j.done)
}
