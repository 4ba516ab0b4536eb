package standin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Options configure a Server. The zero value is a server that waits for nothing and accepts everything a fresh Supabase stack
// with the chat schema accepts.
type Options struct {
	// ServiceKey and AnonKey are the accepted API keys; empty means a JWT signed with JWTSecret, good for ten years.
	ServiceKey, AnonKey string
	JWTSecret           string // signs and checks JWTs; empty means DefaultJWTSecret

	// Agent answers what a visitor wrote to temporary-chat-handler; nil is a small friendly one. It may be called
	// concurrently; ctx ends when the server closes.
	Agent      func(ctx context.Context, visitorText string) string
	AgentDelay time.Duration // before Agent is called

	PollInterval     time.Duration // commit to change frame; real servers 0-500 ms
	SubscribeDelay   time.Duration // join reply to "Subscribed to PostgreSQL"; real servers 5 ms warm, 2 s cold
	RefreshDelay     time.Duration // access_token push to the next subscription; real servers 1-3 s
	HandshakeBackoff time.Duration // before a refused handshake is answered; real servers 2 s
	JoinBackoff      time.Duration // before a refused join is answered, its socket frozen; real servers 5 s
	IdleTimeout      time.Duration // socket without an inbound frame is closed; 0 means 60 s

	MaxRecordBytes int // WAL text of a row above it loses its large columns (error 413); 0 means 1,048,576
	ToastBytes     int // a column text above it is left out of updates that do not touch it; 0 means 8192
	MaxRows        int // most rows of one REST answer; 0 means 1000
	QueueFrames    int // outbound frames a socket may have waiting before it is dropped; 0 means 8192

	// Source is a database whose changes Realtime sends in place of those of DB; it hands them to Server.Deliver. nil is DB.
	Source ChangeSource
	// REST serves /rest/v1 in place of the tables of DB, paths unchanged; HTTP faults strike before it. nil is DB.
	REST http.Handler

	// Store is where the Edge Functions keep their rows. nil is DB.
	Store Store

	Relaxed bool // leave out check_content_structure, so that rows like m09 and m12 of the fixture can be stored
	Strict  bool // UNIQUE (conversation_id) on conversation_sessions

	Now    func() time.Time // the database clock, also of Date headers and of token expiry; nil is time.Now
	NewID  func() string    // UUIDs of column defaults; nil is random
	Logger *slog.Logger     // nil discards
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = uuid.NewString
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Agent == nil {
		o.Agent = friendlyAgent
	}
	for _, d := range []struct {
		value *int
		std   int
	}{{&o.MaxRecordBytes, 1 << 20}, {&o.ToastBytes, 8192}, {&o.MaxRows, 1000}, {&o.QueueFrames, 8192}} {
		if *d.value <= 0 {
			*d.value = d.std
		}
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	return o
}
