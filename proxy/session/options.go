package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Store is what is read of the database. Its errors are those of package rest.
type Store interface {
	ValidateSession(ctx context.Context, token string) (rest.Validation, error)
	Sessions(ctx context.Context, ids []string) ([]rest.Session, error)
	Links(ctx context.Context, ids []string) ([]rest.Link, error)
	AgentNames(ctx context.Context, ids []string) (map[string]string, error)
	// Now is the database's clock. It may not block.
	Now() time.Time
}

var _ Store = (*rest.Client)(nil)

// Options configure an Authorizer. Store, Keys and OnEnd are required; numbers that are 0 take the default named.
type Options struct {
	Store Store
	// Keys are signing secrets of at least 16 bytes: the first seals tickets, all open them.
	Keys [][]byte
	// VerifyCursor reports whether only the visitor can hold a cursor. Nil means that no cursor vouches for a ticket.
	VerifyCursor func(v *chat.Visitor, cursor string) bool

	// CachePositive is how long a token is taken for the session it proved (60 s), and how long an ending is remembered.
	CachePositive time.Duration
	// CacheNegative is how long a token that proved nothing is refused without asking (10 s).
	CacheNegative time.Duration
	// CacheSize bounds each cache, in entries (20,000). Tracked sessions do not count.
	CacheSize int

	// AuthorizePerSecond is how many session tokens a second the validation function is asked about (20), and how many link tokens have a
	// LinkTurn; more are refused for now.
	AuthorizePerSecond float64
	// Concurrency is how many validations run at once (8), and four times as many LinkTurns; up to 16 times as many wait.
	Concurrency int

	// TicketLife is a URL ticket's life to its first use (120 s).
	TicketLife time.Duration
	// StreamMaxAge is the greatest age of a stream (2 h); a resume ticket lives 10 min longer.
	StreamMaxAge time.Duration

	// RecheckInterval is how old the reading that an open stream rests on may become before it is renewed (15 s).
	RecheckInterval time.Duration
	// ConfirmWithin is how long a session may go without a reading that confirms it (60 s). More than RecheckInterval.
	ConfirmWithin time.Duration

	// OnEnd is called by Run when a tracked session ends, once; and again each RecheckInterval for as long as a stream of it
	// stays tracked, or is tracked anew. Where the session only changed it is called with the visitor of before. It may not block.
	OnEnd func(v *chat.Visitor, e Ending)

	// OnChange (may be nil) is called by Run when a reading tells that a tracked session is to be judged otherwise than its streams were
	// opened under: what the link allows (AllowedDomains, AllowedIPs, MaxMessages, RateLimitPerMinute), or what is in its scope
	// (LinkKnown, Shared, ConversationSessionID). It may not block.
	OnChange func(v *chat.Visitor)

	Metrics *Metrics
	Logger  *slog.Logger
}

// resumeGrace is how much longer than a stream its resume ticket lives.
const resumeGrace = 10 * time.Minute

func (o Options) withDefaults() (Options, error) {
	defaultTo(&o.CachePositive, time.Minute)
	defaultTo(&o.CacheNegative, 10*time.Second)
	defaultTo(&o.CacheSize, 20_000)
	defaultTo(&o.AuthorizePerSecond, 20)
	defaultTo(&o.Concurrency, 8)
	defaultTo(&o.TicketLife, 2*time.Minute)
	defaultTo(&o.StreamMaxAge, 2*time.Hour)
	defaultTo(&o.RecheckInterval, 15*time.Second)
	defaultTo(&o.ConfirmWithin, time.Minute)
	if o.OnChange == nil {
		o.OnChange = func(*chat.Visitor) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, o.check()
}

func defaultTo[T int | float64 | time.Duration](value *T, fallback T) {
	if *value == 0 {
		*value = fallback
	}
}

func (o Options) check() error {
	var problems []error
	if o.Store == nil {
		problems = append(problems, errors.New("no store"))
	}
	if o.OnEnd == nil {
		problems = append(problems, errors.New("no OnEnd"))
	}
	for _, number := range []struct {
		name  string
		value float64
	}{
		{"CachePositive", float64(o.CachePositive)}, {"CacheNegative", float64(o.CacheNegative)},
		{"CacheSize", float64(o.CacheSize)}, {"AuthorizePerSecond", o.AuthorizePerSecond},
		{"Concurrency", float64(o.Concurrency)}, {"TicketLife", float64(o.TicketLife)},
		{"StreamMaxAge", float64(o.StreamMaxAge)}, {"RecheckInterval", float64(o.RecheckInterval)},
	} {
		if !(number.value > 0) { // NaN included
			problems = append(problems, fmt.Errorf("%s is not positive", number.name))
		}
	}
	if o.ConfirmWithin <= o.RecheckInterval {
		problems = append(problems, errors.New("ConfirmWithin is not longer than RecheckInterval"))
	}
	return errors.Join(problems...)
}

func (o Options) resumeLife() time.Duration { return o.StreamMaxAge + resumeGrace }

// recheckMargin is what a recheck leaves of the interval to its reads.
func (o Options) recheckMargin() time.Duration { return o.RecheckInterval / 10 }
