package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const (
	// deliverBytes is about how much one write of a delivery carries.
	deliverBytes = 128 << 10
	// margin covers the resolution of what is known of the database's clock.
	margin       = 5 * time.Second
	historyPages = 5
)

// Join attaches a subscriber and returns when its class has a baseline. Errors are *chat.Refusal or the context's.
func (f *Feed) Join(ctx context.Context, v *chat.Visitor, cursor string, o chat.SubscriberOptions) (*chat.Attachment, error) {
	for {
		a := f.hub.Attach(v, cursor, o)
		again, err := f.prepare(ctx, a)
		if err == nil && !again {
			a.Resume()
			return a, nil
		}
		a.Close()
		if err != nil {
			return nil, f.refuse(err)
		}
	}
}

// prepare brings the baseline of a new class, or waits for whoever does. again says that they gave up.
func (f *Feed) prepare(ctx context.Context, a *chat.Attachment) (again bool, err error) {
	if !a.Building() {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-a.Ready():
			return a.Failed(), nil
		}
	}
	for {
		floor := f.opts.Store.Now().Add(-f.opts.CatchUpOverlap - margin)
		j, err := f.read(ctx, a, floor)
		if err != nil {
			return false, err
		}
		if err := f.readRest(ctx, a, j); err != nil {
			return false, err
		}
		if a.Baseline(j.rows, j.scope, floor, j.readAt) {
			return false, nil
		}
	}
}

// readRest adds what the shared pages of a read did not reach.
func (f *Feed) readRest(ctx context.Context, a *chat.Attachment, j *joinRead) error {
	if j.whole {
		return nil
	}
	for !j.whole {
		p, rows, err := f.readPage(ctx, []string{j.conversationID}, span{}, j.last)
		if err != nil {
			return err
		}
		j.rows, j.last, j.whole = append(j.rows, rows...), p.Last, !p.More
	}
	var err error
	j.scope, err = f.scopeFor(ctx, a, j.rows)
	return err
}

// read reads the rows of the attachment's conversation created since, all of them, with a scope if they need one. The first pages are
// shared with whoever joins at the same time.
func (f *Feed) read(ctx context.Context, a *chat.Attachment, since time.Time) (*joinRead, error) {
	j := &joinRead{
		conversationID: a.Subscriber.Visitor().ConversationID, since: since, wantsScope: a.WantsScope,
		done: make(chan struct{}),
	}
	select {
	case f.joins <- j:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-j.done:
		return j, j.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Deliver hands write what the visitor lacks until the subscriber is live. See transport.Backfiller.
func (f *Feed) Deliver(ctx context.Context, a *chat.Attachment, write func([]*chat.Event) error) error {
	since, owed := a.Resume()
	for {
		if owed {
			if err := f.deliverBacklog(ctx, a, since, write); err != nil {
				return err
			}
		}
		for {
			events, live, lost := a.Next(deliverBytes)
			if live {
				return nil
			}
			if lost {
				since, owed = a.Rewind(), true
				break
			}
			if err := write(events); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

// deliverBacklog reads back page by page, and reads on only when a page is written.
func (f *Feed) deliverBacklog(ctx context.Context, a *chat.Attachment, since time.Time, write func([]*chat.Event) error) error {
	j, err := f.read(ctx, a, since)
	if err != nil {
		return f.refuse(err)
	}
	rows, scope, whole, last := j.rows, j.scope, j.whole, j.last
	for {
		if events := a.Backlog(rows, scope); len(events) > 0 {
			if err := write(events); err != nil {
				return err
			}
		}
		if whole {
			return nil
		}
		id := a.Subscriber.Visitor().ConversationID
		var p rest.Page
		if p, rows, err = f.readPage(ctx, []string{id}, span{}, last); err != nil {
			return f.refuse(err)
		}
		if scope, err = f.scopeFor(ctx, a, rows); err != nil {
			return f.refuse(err)
		}
		whole, last = !p.More, p.Last
	}
}

func (f *Feed) scopeFor(ctx context.Context, a *chat.Attachment, rows []*chat.Row) (*chat.Scope, error) {
	if !a.WantsScope(rows) {
		return nil, nil
	}
	id := a.Subscriber.Visitor().ConversationID
	scopes, err := f.readScopes(ctx, []string{id})
	return scopes[id], err
}

// History returns the newest n messages that the visitor may see, oldest first. It looks at a bounded number of rows: of a shared
// conversation most may be hidden.
func (f *Feed) History(ctx context.Context, a *chat.Attachment, n int) ([]*chat.Event, error) {
	var rows []*chat.Row
	var events []*chat.Event
	q := rest.MessagesQuery{
		Conversations: []string{a.Subscriber.Visitor().ConversationID}, Descending: true, Limit: min(1000, 2*n+20),
	}
	for range historyPages {
		p, err := f.opts.Store.Messages(ctx, q)
		f.noteRead(err)
		if err != nil {
			return nil, f.refuse(err)
		}
		rows = append(rows, f.decode(p.Rows)...)
		scope, err := f.scopeFor(ctx, a, rows)
		if err != nil {
			return nil, f.refuse(err)
		}
		events = a.History(rows, scope)
		if !p.More || len(events) >= n {
			break
		}
		q.Before, q.Limit = p.Last, 1000
	}
	return events[max(0, len(events)-n):], nil
}

// refuse turns a failed read into what a visitor may know: that it cannot be known now.
func (f *Feed) refuse(err error) error {
	var refusal *chat.Refusal
	if err == nil || errors.As(err, &refusal) || errors.Is(err, context.Canceled) {
		return err
	}
	return chat.RefuseUnavailable(2*time.Second, fmt.Errorf("read back: %w", err))
}
