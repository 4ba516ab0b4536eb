package transport

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Authorizer turns what a visitor brings into a session. Its errors are *chat.Refusal, or the context's.
type Authorizer interface {
	Authorize(ctx context.Context, c chat.Credential) (*chat.Grant, error)
	// URLTicket mints a short-lived ticket for use in a URL.
	URLTicket(g *chat.Grant) (ticket chat.Token, lifeSeconds int, err error)
	// Active notes that the visitor of a session does something, for its idle timeout. It fails when the session is known to have ended.
	Active(sessionID string) error
}

// Backfiller places subscribers and reads back what they lack. Its errors are *chat.Refusal, the context's, or what write returned.
type Backfiller interface {
	// Join attaches a subscriber and returns when its class has a baseline: the attachment's cursor may then be told.
	// The caller must Close the attachment.
	Join(ctx context.Context, v *chat.Visitor, cursor string, o chat.SubscriberOptions) (*chat.Attachment, error)
	// History returns the newest n messages that the visitor may see, oldest first.
	History(ctx context.Context, a *chat.Attachment, n int) ([]*chat.Event, error)
	// Deliver hands write the events that the visitor lacks, in order, until the subscriber is live: from then on events come
	// through its queue. write must obey a deadline; an error from it ends the delivery and is returned.
	Deliver(ctx context.Context, a *chat.Attachment, write func([]*chat.Event) error) error
	// CatchUp reads back one conversation now, so that whatever was stored before the call has been published.
	CatchUp(ctx context.Context, conversationID string) error
	// State is the state of the feed: live, catching_up or polling.
	State() string
}

// Functions calls an Edge Function. Errors mean that there was no usable answer.
type Functions interface {
	Call(ctx context.Context, function, path, method string, header http.Header, body []byte) (*FunctionReply, error)
}

// FunctionReply is an Edge Function's answer, of any status.
type FunctionReply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Store writes and finds visitor rows when the proxy itself stores them. Rows use canonical column names.
type Store interface {
	InsertMessage(ctx context.Context, row map[string]any) (json.RawMessage, error)
	// MessageByClientID returns nil without an error when there is none.
	MessageByClientID(ctx context.Context, v *chat.Visitor, clientMessageID string) (json.RawMessage, error)
	// CountMessages counts the rows that the session's visitor sent.
	CountMessages(ctx context.Context, v *chat.Visitor) (int, error)
}
