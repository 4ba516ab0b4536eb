package feed_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const (
	conversation = "c0000000-0000-4000-8000-000000000001"
	sessionID    = "50000000-0000-4000-8000-000000000001"
	agentID      = "a0000000-0000-4000-8000-000000000001"
	linkID       = "10000000-0000-4000-8000-000000000001"
)

var errDown = errors.New("database away")

// database is an in-memory messages table with the reads that the feed makes.
type database struct {
	mu       sync.Mutex
	rows     []map[string]any
	sessions []rest.Session
	owners   []rest.ConversationSession
	down     bool
	noScopes bool // only sessions cannot be read
	reads    int
	queries  []rest.MessagesQuery // of reads that were not paged on
	scopes   int
	byID     int
	pageRows int
	onRead   func()
	delay    time.Duration // of a read of messages
}

func newDatabase() *database {
	return &database{
		sessions: []rest.Session{{ID: sessionID, LinkID: linkID, ConversationID: conversation}},
		pageRows: 1000,
	}
}

// row makes a visitor's row, tagged with their session.
func row(id int, text string, at time.Time) map[string]any {
	return map[string]any{
		"id": fmt.Sprintf("00000000-0000-4000-8000-%012d", id), "conversation_id": conversation,
		"session_id": sessionID, "role": "system", "sender_user_id": nil, "sender_agent_id": nil,
		"content": map[string]any{"type": "text", "text": text, "metadata": map[string]any{
			"temp_session_id": sessionID, "is_anonymous_user": true,
		}},
		"created_at": at.UTC().Format(time.RFC3339Nano), "updated_at": at.UTC().Format(time.RFC3339Nano),
	}
}

// reply makes an agent's row, which no tag names the session of.
func reply(id int, text string, at time.Time) map[string]any {
	r := row(id, text, at)
	r["role"], r["sender_agent_id"] = "assistant", agentID
	r["content"] = map[string]any{"type": "text", "text": text}
	return r
}

func (d *database) commit(rows ...map[string]any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = append(d.rows, rows...)
}

// update changes the text of a row.
func (d *database) update(id int, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range d.rows {
		if r["id"] == row(id, "", time.Time{})["id"] {
			r = row(id, text, createdAt(r))
			r["updated_at"] = time.Now().UTC().Format(time.RFC3339Nano)
			d.rows[i] = r
		}
	}
}

func (d *database) remove(id int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = slices.DeleteFunc(d.rows, func(r map[string]any) bool { return r["id"] == row(id, "", time.Time{})["id"] })
}

func (d *database) setDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *database) counts() (reads, scopes, byID int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads, d.scopes, d.byID
}

// asked are the queries until now, each for a first page.
func (d *database) asked() []rest.MessagesQuery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.queries)
}

func (d *database) Now() time.Time { return time.Now() }

func createdAt(r map[string]any) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, r["created_at"].(string))
	return t
}

func updatedAt(r map[string]any) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, r["updated_at"].(string))
	return t
}

func (d *database) Messages(ctx context.Context, q rest.MessagesQuery) (rest.Page, error) {
	d.mu.Lock()
	delay := d.delay
	d.mu.Unlock()
	if !pause(ctx, delay) {
		return rest.Page{}, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	if q.After.IsZero() && q.Before.IsZero() {
		d.queries = append(d.queries, q)
	}
	if d.down {
		return rest.Page{}, errDown
	}
	if d.onRead != nil {
		d.onRead()
	}
	order := func(a, b map[string]any) int {
		return cmp.Or(createdAt(a).Compare(createdAt(b)), cmp.Compare(a["id"].(string), b["id"].(string)))
	}
	var rows []map[string]any
	for _, r := range d.rows {
		at, id := createdAt(r), r["id"].(string)
		place := func(p rest.Position) int { return cmp.Or(at.Compare(p.CreatedAt), cmp.Compare(id, p.ID)) }
		switch {
		case !slices.Contains(q.Conversations, r["conversation_id"].(string)), at.Before(q.Since):
		case at.Before(q.ChangedSince) && updatedAt(r).Before(q.ChangedSince):
		case !q.After.IsZero() && place(q.After) <= 0, !q.Before.IsZero() && place(q.Before) >= 0:
		default:
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, order)
	if q.Descending {
		slices.Reverse(rows)
	}
	p := rest.Page{ServerTime: time.Now(), More: len(rows) > d.pageRows}
	for _, r := range rows[:min(len(rows), d.pageRows)] {
		p.Rows = append(p.Rows, marshal(r))
		p.Last = rest.Position{CreatedAt: createdAt(r), ID: r["id"].(string)}
	}
	return p, nil
}

func (d *database) MessagesByID(_ context.Context, ids []string) ([]json.RawMessage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byID++
	if d.down {
		return nil, errDown
	}
	var out []json.RawMessage
	for _, r := range d.rows {
		if slices.Contains(ids, r["id"].(string)) {
			out = append(out, marshal(r))
		}
	}
	return out, nil
}

func (d *database) SessionsOfConversations(_ context.Context, ids []string) ([]rest.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scopes++
	if d.down || d.noScopes {
		return nil, errDown
	}
	return slices.DeleteFunc(slices.Clone(d.sessions), func(s rest.Session) bool { return !slices.Contains(ids, s.ConversationID) }), nil
}

func (d *database) ConversationSessions(_ context.Context, ids []string) ([]rest.ConversationSession, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.owners), func(s rest.ConversationSession) bool { return !slices.Contains(ids, s.ID) }), nil
}

func marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func visitor() *chat.Visitor {
	return &chat.Visitor{
		SessionID: sessionID, ConversationID: conversation, AgentID: agentID, LinkID: linkID, LinkKnown: true,
	}
}

// stream is a visitor's open stream: what was written to it, in order.
type stream struct {
	att  *chat.Attachment
	wake chan struct{}
	got  []*chat.Event
}

func join(t *testing.T, f *node, cursor string) *stream {
	t.Helper()
	return joinAs(t, f, visitor(), cursor)
}

func joinAs(t *testing.T, f *node, v *chat.Visitor, cursor string) *stream {
	t.Helper()
	s := &stream{wake: make(chan struct{}, 1)}
	att, err := f.Join(t.Context(), v, cursor, chat.SubscriberOptions{
		Wake: func() { s.wake <- struct{}{} }, MaxBytes: 1 << 20, MaxEvents: 1000,
	})
	require.NoError(t, err)
	s.att = att
	t.Cleanup(att.Close)
	require.NoError(t, f.Deliver(t.Context(), att, func(events []*chat.Event) error {
		s.got = append(s.got, events...)
		return nil
	}))
	return s
}

// texts waits until the feed is at rest, takes what is queued and returns the texts of all that was ever delivered; a recovered one is prefixed with +, a replayed
// one with *, an update with ~, and a deletion shows the end of the id.
func (s *stream) texts() []string {
	synctest.Wait()
	select {
	case <-s.wake:
		for items, more := s.att.Subscriber.Take(nil); more; items, more = s.att.Subscriber.Take(nil) {
			for _, it := range items {
				if it.Event != nil {
					s.got = append(s.got, it.Event)
				}
			}
		}
	default:
	}
	out := []string{}
	for _, e := range s.got {
		mark := ""
		if e.Message.Recovered {
			mark = "+"
		}
		if e.Message.Replayed {
			mark = "*"
		}
		switch e.Kind {
		case chat.KindUpdated:
			mark += "~"
		case chat.KindDeleted:
			mark += "-" + e.Message.ID[len(e.Message.ID)-1:]
		}
		out = append(out, mark+e.Message.Content)
	}
	return out
}

func (s *stream) cursor() string {
	if len(s.got) == 0 {
		return s.att.Cursor()
	}
	return s.got[len(s.got)-1].Cursor
}

func uuid(i int) string { return fmt.Sprintf("70000000-0000-4000-8000-%012d", i) }

// pause waits and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
