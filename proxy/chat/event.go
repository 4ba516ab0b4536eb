package chat

import (
	"bytes"
	"encoding/json"
	"sync"
	"time"
)

// Dialect is one of the forms in which an event leaves.
type Dialect uint8

const (
	// DialectMessage is SSE in which an unnamed event is a message and everything else is named.
	DialectMessage Dialect = iota
	// DialectEnvelope is SSE in which every event is unnamed and holds {type, data, timestamp}.
	DialectEnvelope
	// DialectWebSocket is one JSON text per WebSocket message.
	DialectWebSocket
	// DialectPoll is the JSON object of an event in a polling answer.
	DialectPoll
	// DialectRealtime is the data object of a Supabase Realtime change. It has no control events.
	DialectRealtime

	dialects = int(DialectRealtime) + 1
)

// Kind of an event of a class's sequence.
type Kind uint8

const (
	// KindMessage shows a row for the first time.
	KindMessage Kind = iota
	// KindUpdated replaces a message that was shown.
	KindUpdated
	// KindDeleted takes a message back.
	KindDeleted
)

var kindNames = [...]string{KindMessage: "message", KindUpdated: "message_updated", KindDeleted: "message_deleted"}

// String returns the event's type on the wire.
func (k Kind) String() string { return kindNames[k] }

// Event is one entry of a class's sequence. It is shared by all subscribers and immutable but for its encodings, each of which is
// made once, when first asked for.
type Event struct {
	Kind    Kind
	Message Message // of a KindDeleted event only the ids and the time
	// Seq is the place in the class's sequence; 0 for events made for one subscriber.
	Seq uint64
	// Cursor is the position after this event.
	Cursor string
	// At is when the event was made, in the database's clock.
	At time.Time

	facts     facts
	again     bool      // shows a message that was shown before and taken back
	committed time.Time // zero where the row was read back
	layout    *changeLayout
	encoded   [dialects]encoding
	prepared  prepared
}

// facts are what the guard compares. They are taken from the row itself, not from the rule's answer.
type facts struct {
	conversationID string
	sessionTag     string
	identified     bool
	// session is set on events that were made for one session and have no row (an unstored reply).
	session string
}

type encoding struct {
	once sync.Once
	text []byte
}

type prepared struct {
	once  sync.Once
	value any
}

// asReplayed returns a copy for a visitor who may have had the message before.
func (e *Event) asReplayed() *Event {
	c := e.withCursor(e.Cursor)
	c.Message.Replayed = true
	return c
}

// withCursor returns a copy for a visitor whose position is not the class's.
func (e *Event) withCursor(cursor string) *Event {
	return &Event{
		Kind: e.Kind, Message: e.Message, Seq: e.Seq, Cursor: cursor, At: e.At, facts: e.facts, again: e.again,
		committed: e.committed, layout: e.layout,
	}
}

// Encode returns the event in a dialect. The bytes are shared: callers must not change them.
func (e *Event) Encode(d Dialect) []byte {
	c := &e.encoded[d]
	c.once.Do(func() { c.text = e.encode(d) })
	return c.text
}

// Prepared keeps one value a transport derives from the event (a prepared WebSocket frame), made by the first caller.
func (e *Event) Prepared(prepare func(*Event) any) any {
	e.prepared.once.Do(func() { e.prepared.value = prepare(e) })
	return e.prepared.value
}

// size is what the event counts in a queue or a window, about its encoded length in bytes.
func (e *Event) size() int { return len(e.Message.Content) + len(e.Cursor) + 256 }

func (e *Event) encode(d Dialect) []byte {
	switch d {
	case DialectMessage:
		name := ""
		if e.Kind != KindMessage {
			name = e.Kind.String()
		}
		return appendSSE(nil, name, e.Cursor, marshal(e.body()))
	case DialectEnvelope:
		return appendSSE(nil, "", e.Cursor, marshal(envelope{e.Kind.String(), e.body(), e.At}))
	case DialectWebSocket:
		return marshal(socketMessage{e.Kind.String(), e.body(), e.Cursor})
	case DialectRealtime:
		return e.AppendChange(nil, nil)
	default:
		return marshal(socketMessage{e.Kind.String(), e.body(), ""})
	}
}

func (e *Event) body() any {
	if e.Kind == KindDeleted {
		return deleted{e.Message.ID, e.Message.ConversationID}
	}
	return &e.Message
}

type envelope struct {
	Type      string    `json:"type"`
	Data      any       `json:"data,omitempty"`
	Timestamp time.Time `json:"timestamp"`
}

type socketMessage struct {
	Type    string `json:"type"`
	Message any    `json:"message"`
	Cursor  string `json:"cursor,omitempty"`
}

type deleted struct {
	ID             string `json:"id"`
	ConversationID string `json:"conversation_id"`
}

// marshal writes JSON without the HTML escapes of the standard library's default: text is data in every dialect. Line separators
// that would end an SSE line are always escaped inside JSON strings.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only types of this package and maps of plain values come here.
		panic("chat: unencodable event: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendSSE appends one event of a text/event-stream. data must not hold line breaks; name and id may be empty.
func appendSSE(dst []byte, name, id string, data []byte) []byte {
	if id != "" {
		dst = append(append(append(dst, "id: "...), id...), '\n')
	}
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	dst = append(append(dst, "data: "...), data...)
	return append(dst, "\n\n"...)
}
