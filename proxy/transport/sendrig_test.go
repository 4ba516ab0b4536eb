package transport_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const (
	sendPath = "/functions/v1/temporary-chat-handler"
	apiPath  = "/functions/v1/temporary-chat-api"
	pollPath = "/temporary-chat-messages"
)

// functionCall is what a function was called with.
type functionCall struct {
	function, path, method string
	header                 http.Header
	body                   string
}

// recordedFunctions is a transport.Functions that keeps what it was called with.
type recordedFunctions struct {
	answer func(ctx context.Context, c functionCall) (*transport.FunctionReply, error)

	mu    sync.Mutex
	calls []functionCall
}

func (f *recordedFunctions) Call(
	ctx context.Context, function, path, method string, header http.Header, body []byte,
) (*transport.FunctionReply, error) {
	c := functionCall{function, path, method, header, string(body)}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	return f.answer(ctx, c)
}

func (f *recordedFunctions) all() []functionCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]functionCall(nil), f.calls...)
}

// fakeStore is a transport.Store made of functions; nil ones find and store nothing wrong.
type fakeStore struct {
	insert func(ctx context.Context, row map[string]any) error
	find   func(ctx context.Context, clientMessageID string) (json.RawMessage, error)
	count  func(ctx context.Context) (int, error)
}

func (s *fakeStore) CountMessages(ctx context.Context, _ *chat.Visitor) (int, error) {
	if s.count == nil {
		return 0, nil
	}
	return s.count(ctx)
}

func (s *fakeStore) InsertMessage(ctx context.Context, row map[string]any) (json.RawMessage, error) {
	if s.insert != nil {
		if err := s.insert(ctx, row); err != nil {
			return nil, err
		}
	}
	return json.Marshal(row)
}

func (s *fakeStore) MessageByClientID(ctx context.Context, _ *chat.Visitor, id string) (json.RawMessage, error) {
	if s.find == nil {
		return nil, nil
	}
	return s.find(ctx, id)
}

// catchingUp is the rig's Backfiller with a read-back of the test's, and a moment right after a delivery.
type catchingUp struct {
	*rigBackfiller
	catchUp   func() error
	delivered func()
	stray     []*chat.Event // delivered first, whoever's they are
}

func (b *catchingUp) Deliver(ctx context.Context, a *chat.Attachment, write func([]*chat.Event) error) error {
	if len(b.stray) > 0 {
		if err := write(b.stray); err != nil {
			return err
		}
	}
	err := b.rigBackfiller.Deliver(ctx, a, write)
	if b.delivered != nil {
		b.delivered()
	}
	return err
}

func (b *catchingUp) CatchUp(context.Context, string) error {
	if b.catchUp == nil {
		return nil
	}
	return b.catchUp()
}

var (
	_ transport.Functions  = (*recordedFunctions)(nil)
	_ transport.Store      = (*fakeStore)(nil)
	_ transport.Backfiller = (*catchingUp)(nil)
)

// sendRig is a rig whose function, store and read-back are the test's.
type sendRig struct {
	*rig
	functions *recordedFunctions
	store     *fakeStore
	catching  *catchingUp
}

// newSendRig makes one whose function answers with a status and a body.
func newSendRig(t testing.TB, status int, body string, change func(*transport.Options)) *sendRig {
	t.Helper()
	g := &sendRig{store: &fakeStore{}, catching: &catchingUp{}}
	g.functions = &recordedFunctions{answer: func(context.Context, functionCall) (*transport.FunctionReply, error) {
		return &transport.FunctionReply{Status: status, Header: http.Header{}, Body: []byte(body)}, nil
	}}
	g.rig = newRig(t, func(o *transport.Options) {
		o.Functions, o.Store = g.functions, g.store
		g.catching.rigBackfiller = o.Backfiller.(*rigBackfiller)
		o.Backfiller = g.catching
		if change != nil {
			change(o)
		}
	})
	return g
}

// do makes one request without a socket. Headers come in pairs.
func do(g *rig, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return doContext(context.Background(), g, method, path, body, header...)
}

func doContext(ctx context.Context, g *rig, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.RemoteAddr = "203.0.113.9:4711"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	g.server.Handler().ServeHTTP(w, r)
	return w
}

// message is a send's body.
func message(text string, more ...string) string {
	fields := map[string]any{"session_token": rigToken, "message": text, "action": "send_message"}
	for i := 0; i+1 < len(more); i += 2 {
		fields[more[i]] = json.RawMessage(more[i+1])
	}
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// withoutRequestID takes out what differs in each answer.
func withoutRequestID(t testing.TB, body string) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &fields), body)
	delete(fields, "request_id")
	b, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(b)
}

// watch opens a stream of the rig's session past HTTP and returns its subscriber's events.
type watcher struct {
	*chat.Attachment
	t testing.TB
}

func watch(g *rig) *watcher {
	g.t.Helper()
	a, err := g.backfiller.Join(g.t.Context(), rigVisitor(rigSession), "", chat.SubscriberOptions{
		Dialect: chat.DialectWebSocket, Wake: func() {}, MaxBytes: 1 << 20, MaxEvents: 1000,
	})
	require.NoError(g.t, err)
	require.NoError(g.t, g.backfiller.Deliver(g.t.Context(), a, func([]*chat.Event) error { return nil }))
	g.t.Cleanup(a.Close)
	return &watcher{a, g.t}
}

func (w *watcher) messages() (out []chat.Message) {
	for {
		items, more := w.Subscriber.Take(nil)
		if !more {
			return out
		}
		for _, it := range items {
			if it.Event != nil && w.Subscriber.Guard(it.Event) {
				out = append(out, it.Event.Message)
			}
		}
	}
}
