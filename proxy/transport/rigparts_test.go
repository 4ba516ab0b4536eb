package transport_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// rigAuthorizer is a transport.Authorizer made of functions.
type rigAuthorizer struct {
	authorize func(context.Context, chat.Credential) (*chat.Grant, error)
	active    func() error // nil, or what Active returns
}

func (a *rigAuthorizer) Authorize(ctx context.Context, c chat.Credential) (*chat.Grant, error) {
	return a.authorize(ctx, c)
}
func (a *rigAuthorizer) URLTicket(g *chat.Grant) (chat.Token, int, error) { return g.Ticket, 120, nil }
func (a *rigAuthorizer) Active(string) error {
	if a.active == nil {
		return nil
	}
	return a.active()
}

// rigBackfiller places subscribers in a real hub over a table in memory.
type rigBackfiller struct {
	hub     *chat.Hub
	mu      sync.Mutex
	rows    []*chat.Row
	join    func() error                    // nil, or what Join returns instead
	deliver func(ctx context.Context) error // nil, or what comes before a delivery
	past    []*chat.Event                   // nil, or what History returns instead
	state   func()                          // nil, or what State does first
}

func (b *rigBackfiller) stored() []*chat.Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*chat.Row(nil), b.rows...)
}

func (b *rigBackfiller) Join(ctx context.Context, v *chat.Visitor, cursor string, o chat.SubscriberOptions) (*chat.Attachment, error) {
	if b.join != nil {
		if err := b.join(); err != nil {
			return nil, err
		}
	}
	a := b.hub.Attach(v, cursor, o)
	if a.Building() {
		a.Baseline(b.stored(), nil, rigTime.Add(-time.Hour), rigTime)
	}
	select {
	case <-a.Ready():
		a.Resume() // fixes what the visitor is owed, and so the cursor
		return a, nil
	case <-ctx.Done():
		a.Close()
		return nil, ctx.Err()
	}
}

func (b *rigBackfiller) History(_ context.Context, a *chat.Attachment, n int) ([]*chat.Event, error) {
	if b.past != nil {
		return b.past, nil
	}
	events := a.History(b.stored(), nil)
	return events[max(0, len(events)-n):], nil
}

func (b *rigBackfiller) Deliver(ctx context.Context, a *chat.Attachment, write func([]*chat.Event) error) error {
	if b.deliver != nil {
		if err := b.deliver(ctx); err != nil {
			return err
		}
	}
	since, read := a.Resume()
	for {
		if read {
			var missed []*chat.Row
			for _, row := range b.stored() {
				if !row.CreatedAt.Before(since) {
					missed = append(missed, row)
				}
			}
			if err := write(a.Backlog(missed, nil)); err != nil {
				return err
			}
		}
		for {
			events, live, lost := a.Next(64 << 10)
			if live {
				return nil
			}
			if lost {
				since, read = a.Rewind(), true
				break
			}
			if err := write(events); err != nil {
				return err
			}
		}
	}
}

func (b *rigBackfiller) CatchUp(context.Context, string) error { return nil }
func (b *rigBackfiller) State() string {
	if b.state != nil {
		b.state()
	}
	return "live"
}

// rigFunctions and rigStore answer nothing.
type rigFunctions struct {
	call func(ctx context.Context, body []byte) (*transport.FunctionReply, error)
}

func (f *rigFunctions) Call(ctx context.Context, _, _, _ string, _ http.Header, body []byte) (*transport.FunctionReply, error) {
	if f.call == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return f.call(ctx, body)
}

type rigStore struct{}

func (rigStore) InsertMessage(context.Context, map[string]any) (json.RawMessage, error) {
	return nil, io.ErrUnexpectedEOF
}
func (rigStore) CountMessages(context.Context, *chat.Visitor) (int, error) { return 3, nil }
func (rigStore) MessageByClientID(context.Context, *chat.Visitor, string) (json.RawMessage, error) {
	return nil, nil
}

var (
	_ transport.Authorizer = (*rigAuthorizer)(nil)
	_ transport.Backfiller = (*rigBackfiller)(nil)
	_ transport.Functions  = (*rigFunctions)(nil)
	_ transport.Store      = rigStore{}
)
