package chat_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The short names of the example rows, as ids.
const (
	idS      = "50000000-0000-4000-8000-000000000001" // S: alone in the isolated conversation C1
	idS2     = "50000000-0000-4000-8000-000000000002" // S2: S's kind of visitor in the shared conversation C2
	idSOther = "50000000-0000-4000-8000-000000000003" // S-other: another visitor of C2
	idC1     = "c0000000-0000-4000-8000-000000000001"
	idC2     = "c0000000-0000-4000-8000-000000000002"
	idCS     = "cccc0000-0000-4000-8000-000000000001" // the conversation_sessions row of S
	idCS2    = "cccc0000-0000-4000-8000-000000000002" // of S2
	idCSO    = "cccc0000-0000-4000-8000-000000000003" // of S-other
	idOwn    = "cccc0000-0000-4000-8000-00000000000f" // the owner's
	idRandom = "cccc0000-0000-4000-8000-0000000000ff"
	idA      = "a0000000-0000-4000-8000-000000000001"
	idB      = "a0000000-0000-4000-8000-000000000002" // an agent that is not the link's
	idU      = "b0000000-0000-4000-8000-000000000001"
	idX      = "b0000000-0000-4000-8000-000000000002"
	idL      = "10000000-0000-4000-8000-000000000001"
)

var placeholders = strings.NewReplacer(
	`"S"`, `"`+idS+`"`, `"S2"`, `"`+idS2+`"`, `"S-other"`, `"`+idSOther+`"`, `"C1"`, `"`+idC1+`"`, `"C2"`, `"`+idC2+`"`,
	`"CS"`, `"`+idCS+`"`, `"CS2"`, `"`+idCS2+`"`, `"CS-other"`, `"`+idCSO+`"`, `"own-1"`, `"`+idOwn+`"`, `"rnd"`, `"`+idRandom+`"`,
	`"A"`, `"`+idA+`"`, `"B"`, `"`+idB+`"`, `"U"`, `"`+idU+`"`, `"X"`, `"`+idX+`"`, `"L"`, `"`+idL+`"`,
)

// exampleRows are the rows that a real installation holds; ids are short names until decodeExample puts ids in their place.
var exampleRows = map[string]string{
	"m01": `{"id":"m01","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":{"type":"text","text":"Hello! What did you think of the pilot?","metadata":{"temporary_chat":true,"temp_session_id":"S","temp_link_id":"L","is_initial_greeting":true,"chat_intent":"collect pilot feedback","participant_name":null}},"metadata":{},"created_at":"2026-03-02T10:00:00.101Z"}`,
	"m02": `{"id":"m02","conversation_id":"C1","session_id":"CS","role":"system","sender_user_id":null,"sender_agent_id":null,"content":{"type":"text","text":"Mostly good, login was slow","metadata":{"temporary_chat":true,"temp_session_id":"S","ip_address":"203.0.113.9","original_role":"user","is_anonymous_user":true,"client_message_id":"c-17"}},"metadata":{},"created_at":"2026-03-02T10:00:20.500Z"}`,
	"m03": `{"id":"m03","version":"2.0.0","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":{"type":"text","text":"Thanks. How slow, roughly?"},"metadata":{"tokens":1312,"processingDetails":{"llm_calls":[{"stage":"main_llm_call","request":{"messages":[{"role":"system","content":"SECRET PROMPT"}]}}]}},"context":{"conversation_id":"C1","agent_id":"A"},"created_at":"2026-03-02T10:00:24.007Z"}`,
	"m04": `{"id":"m04","conversation_id":"C2","session_id":"own-1","role":"user","sender_user_id":"U","sender_agent_id":null,"content":{"type":"text","text":"Draft a private note about Sam"},"metadata":{"target_agent_id":"A"},"created_at":"2026-03-02T10:01:00Z"}`,
	"m05": `{"id":"m05","conversation_id":"C2","session_id":"own-1","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":{"type":"text","text":"Here is the note about Sam"},"metadata":{"processingDetails":{"llm_calls":[]}},"created_at":"2026-03-02T10:01:06Z"}`,
	"m06": `{"id":"m06","conversation_id":"C2","session_id":"CS-other","role":"system","sender_user_id":null,"sender_agent_id":null,"content":{"type":"text","text":"my salary is ...","metadata":{"temporary_chat":true,"temp_session_id":"S-other","ip_address":"198.51.100.4","original_role":"user","is_anonymous_user":true}},"created_at":"2026-03-02T10:02:00Z"}`,
	"m07": `{"id":"m07","conversation_id":"C1","session_id":"CS","role":"system","sender_user_id":null,"sender_agent_id":null,"content":{"type":"text","text":"=== TEMPORARY CHAT INSTRUCTIONS === be nice"},"created_at":"2026-03-02T10:00:21Z"}`,
	"m08": `{"id":"m08","conversation_id":"C1","session_id":"CS","role":"tool","sender_user_id":null,"sender_agent_id":null,"content":{"type":"tool_result","structured":{"tool":"crm_lookup","output":{"email":"x@example.org"}}},"tools":[{"id":"call_1"}],"created_at":"2026-03-02T10:00:22Z"}`,
	"m09": `{"id":"m09","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":{"type":"error","text":"Sorry, something went wrong. Please try again.","metadata":{"error_type":"chat_processing_error","temporary_chat":true,"temp_session_id":"S"}},"created_at":"2026-03-02T10:03:00Z"}`,
	"m10": `{"id":"m10","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":{"type":"multimodal","parts":[{"type":"text","content":"See chart"},{"type":"image","content":"https://files.example/x.png"},{"type":"data","content":{"rows":3}}]},"created_at":"2026-03-02T10:04:00Z"}`,
	"m11": `{"id":"m11","conversation_id":"C1","session_id":"rnd","role":"user","sender_user_id":"U","sender_agent_id":null,"content":{"type":"text","text":"Scheduled: summarise all chats"},"metadata":{"target_agent_id":"A","source":"scheduler","task_id":"T"},"created_at":"2026-03-02T11:00:00Z"}`,
	"m12": `{"id":"m12","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A","content":"plain legacy string","created_at":"2026-03-02T11:01:00Z"}`,
	"m13": `{"id":"m13","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":"X","sender_agent_id":null,"content":{"type":"text","text":"Please pay at evil.example","metadata":{"temp_session_id":"S","temporary_chat":true}},"created_at":"2026-03-02T11:02:00Z"}`,
}

// decodeExample decodes a row written with the short names.
func decodeExample(t testing.TB, text string) *chat.Row {
	t.Helper()
	row, err := chat.DecodeRow([]byte(placeholders.Replace(text)), nil)
	require.NoError(t, err)
	return row
}

func visitorS() *chat.Visitor {
	return &chat.Visitor{SessionID: idS, ConversationID: idC1, ConversationSessionID: idCS, LinkID: idL, AgentID: idA, LinkKnown: true}
}

func visitorS2() *chat.Visitor {
	return &chat.Visitor{
		SessionID: idS2, ConversationID: idC2, ConversationSessionID: idCS2, LinkID: idL, AgentID: idA, LinkKnown: true, Shared: true,
	}
}

func visitorOther() *chat.Visitor {
	return &chat.Visitor{
		SessionID: idSOther, ConversationID: idC2, ConversationSessionID: idCSO, LinkID: idL, AgentID: idA, LinkKnown: true, Shared: true,
	}
}

// isolatedScope is the reading of C1 that has S alone, on an anonymous conversation session.
func isolatedScope() *chat.Scope {
	return &chat.Scope{
		Sessions:  []chat.SessionRef{{ID: idS, ConversationSessionID: idCS}},
		Anonymous: map[string]bool{idCS: true},
	}
}

// start is where the clock of every test begins.
var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// node is one process: a hub, its clock and what the hub asked for. The clock is shared between nodes of one test.
type node struct {
	*chat.Hub
	t     testing.TB
	clock *clock
	asked []string
	gaps  []string
	wrote []string // client message ids
}

type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.us.Store(start.UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

var testSecret = []byte("0123456789abcdef0123456789abcdef")

func newSigner(t testing.TB) *chat.Signer {
	t.Helper()
	s, err := chat.NewSigner(testSecret)
	require.NoError(t, err)
	return s
}

// newNode makes a hub. Nodes of different epochs share nothing but the signing key and the clock.
func newNode(t testing.TB, c *clock, epoch uint64, change func(*chat.Options)) *node {
	t.Helper()
	n := &node{t: t, clock: c}
	o := chat.Options{
		Signer: newSigner(t), Epoch: epoch, Now: c.now,
		OnScopeNeeded:    func(id string) { n.asked = append(n.asked, id) },
		OnGap:            func(id string) { n.gaps = append(n.gaps, id) },
		OnVisitorMessage: func(_, client, _ string) { n.wrote = append(n.wrote, client) },
	}
	if change != nil {
		change(&o)
	}
	h, err := chat.NewHub(o)
	require.NoError(t, err)
	n.Hub = h
	return n
}

// stream is a visitor's connection and all that it was given.
type stream struct {
	*chat.Attachment
	t     testing.TB
	wakes int
	items []chat.Item
	// events are the class's, in order of arrival; cursor is what the visitor would come back with.
	events []*chat.Event
	cursor string
}

func streamOptions(s *stream) chat.SubscriberOptions {
	return chat.SubscriberOptions{Wake: func() { s.wakes++ }, MaxBytes: 256 << 10, MaxEvents: 1000}
}

// attach enters a visitor; table is read for the baseline when one is due.
func (n *node) attach(v *chat.Visitor, cursor string, table []*chat.Row, scope *chat.Scope) *stream {
	n.t.Helper()
	s := &stream{t: n.t}
	s.Attachment = n.Attach(v, cursor, streamOptions(s))
	if s.Building() {
		floor := n.clock.now().Add(-5 * time.Minute)
		require.True(n.t, s.Baseline(since(table, floor), scope, floor, n.clock.now()))
	}
	return s
}

// join enters a visitor and takes them to live.
func (n *node) join(v *chat.Visitor, cursor string, table []*chat.Row, scope *chat.Scope) *stream {
	n.t.Helper()
	s := n.attach(v, cursor, table, scope)
	s.toLive(table, scope)
	return s
}

// toLive does what a transport does from Resume on.
func (s *stream) toLive(table []*chat.Row, scope *chat.Scope) {
	from, read := s.Resume()
	s.cursor = s.Cursor()
	for {
		if read {
			s.got(s.Backlog(since(table, from), scope))
		}
		lost := false
		for live := false; !live && !lost; {
			var events []*chat.Event
			events, live, lost = s.Next(1 << 20)
			s.got(events)
		}
		if !lost {
			return
		}
		from, read = s.Rewind(), true
	}
}

func (s *stream) got(events []*chat.Event) {
	for _, e := range events {
		require.True(s.t, s.Subscriber.Guard(e), "guard refused %s", e.Message.ID)
		s.events = append(s.events, e)
		if e.Cursor != "" {
			s.cursor = e.Cursor
		}
	}
}

// take empties the queue, as a flusher does.
func (s *stream) take() *stream {
	for more := true; more; {
		var items []chat.Item
		items, more = s.Subscriber.Take(nil)
		s.items = append(s.items, items...)
		for _, it := range items {
			if it.Event != nil {
				s.got([]*chat.Event{it.Event})
			}
		}
	}
	return s
}

// log says what was given, in order: "message a", with the marks behind.
func (s *stream) log() []string {
	s.take()
	out := []string{}
	for _, e := range s.events {
		line := e.Kind.String() + " " + e.Message.ID
		if e.Message.Recovered {
			line += " recovered"
		}
		if e.Message.Replayed {
			line += " replayed"
		}
		if e.Message.Unstored {
			line += " unstored"
		}
		out = append(out, line)
	}
	return out
}

func (s *stream) ended() *chat.Disconnect {
	s.take()
	if len(s.items) == 0 {
		return nil
	}
	return s.items[len(s.items)-1].End
}

func since(table []*chat.Row, from time.Time) []*chat.Row {
	var out []*chat.Row
	for _, row := range table {
		if !row.CreatedAt.Before(from) {
			out = append(out, row)
		}
	}
	return out
}

// taggedRow is an agent's row marked with a session.
func taggedRow(id, conversation, session string, created time.Time) *chat.Row {
	return &chat.Row{
		ID: id, ConversationID: conversation, Role: "assistant", SenderAgentID: idA, CreatedAt: created, UpdatedAt: created,
		Content: chat.Content{Type: "text", Text: "text of " + id, SessionTag: session},
	}
}

// untaggedRow is an agent's row that names no session.
func untaggedRow(id, conversation string, created time.Time) *chat.Row {
	return taggedRow(id, conversation, "", created)
}

// changed returns the row with another text, updated at the given time.
func changed(row *chat.Row, text string, at time.Time) *chat.Row {
	c := *row
	c.Content.Text, c.UpdatedAt = text, at
	return &c
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func name(prefix string, n int) string { return fmt.Sprintf("%s%04d", prefix, n) }
