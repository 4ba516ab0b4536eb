package feed

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Store reads the database through PostgREST. *rest.Client implements it.
type Store interface {
	Messages(ctx context.Context, q rest.MessagesQuery) (rest.Page, error)
	MessagesByID(ctx context.Context, ids []string) ([]json.RawMessage, error)
	SessionsOfConversations(ctx context.Context, conversationIDs []string) ([]rest.Session, error)
	ConversationSessions(ctx context.Context, ids []string) ([]rest.ConversationSession, error)
	Now() time.Time
}

// Control receives what the control channels tell of sessions and links. Its methods must not block.
type Control interface {
	SessionChanged(id, status, endReason string, endedAt time.Time)
	SessionDeleted(id string)
	LinkChanged(id string, active bool)
	LinkDeleted(id string)
	// ControlMissed says that changes may have gone by: a channel on one of the tables has come up.
	ControlMissed()
}

// Beats writes the canary table. *rest.Client implements it.
type Beats interface {
	WriteBeat(ctx context.Context, id string, at time.Time) error
	DeleteBeat(ctx context.Context, id string) error
	DeleteBeatsBefore(ctx context.Context, t time.Time) error
}

// Tables names what the feed listens to.
type Tables struct {
	Schema, Messages, Sessions, Links string
	Canary                            string // "" for none
	MessageColumns                    chat.Columns
	SessionColumns, LinkColumns       chat.Columns
}

// Options configure a Feed. Store, Hub, Realtime and Tables are required.
type Options struct {
	Store Store
	// Hub configures the hub that the feed makes; its OnScopeNeeded and OnGap are the feed's own.
	Hub chat.Options
	// Realtime holds what the sockets share: URL, Key, Version, Heartbeat, MaxAge, UnpublishedRetry, NetDial, Rand. The feed fills
	// in the channels and the handlers. A messages socket that reaches MaxAge is kept until a fresh one is live.
	Realtime realtime.Options
	Tables   Tables
	// Control may be nil: then there is no control socket.
	Control Control
	// Beats is required if Tables names a canary table.
	Beats Beats
	// OnState is told of each change of State; it must not block.
	OnState func(state string)

	PollAfter         time.Duration // not live for so long: poll. Default 2 s
	PollInterval      time.Duration // default 2 s
	ReconcileInterval time.Duration // reads while live. Default 2.5 s
	CatchUpOverlap    time.Duration // how far a catch-up reads behind what is proved. Default 5 min

	Registerer prometheus.Registerer // may be nil
	Logger     *slog.Logger
}

func (o *Options) setDefaults() error {
	if o.Store == nil || o.Tables.Messages == "" || o.Realtime.URL == "" {
		return errors.New("new feed: Store, Tables and Realtime are required")
	}
	if o.Tables.Canary != "" && o.Beats == nil {
		return errors.New("new feed: a canary table needs Beats")
	}
	for v, def := range map[*time.Duration]time.Duration{
		&o.PollAfter: 2 * time.Second, &o.PollInterval: 2 * time.Second,
		&o.ReconcileInterval: 2500 * time.Millisecond, &o.CatchUpOverlap: 5 * time.Minute,
	} {
		if *v <= 0 {
			*v = def
		}
	}
	if o.OnState == nil {
		o.OnState = func(string) {}
	}
	if o.Realtime.Rand == nil {
		o.Realtime.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
