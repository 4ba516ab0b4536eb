package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Options configure a Server. A zero number takes the default of the part it belongs to.
type Options struct {
	Supabase Supabase
	Names    rest.Names

	Rule    chat.Rule
	SendVia string // function or insert
	// SigningKeys sign cursors and tickets; the first signs, all verify. Empty: derived from the service key.
	SigningKeys [][]byte

	// Listener and AdminListener are served and closed by Run.
	Listener      net.Listener
	AdminListener net.Listener
	PProf         bool
	// Pages serves the embedded chat page at /chat, and lets pages of the proxy's own origin call, whatever AllowedOrigins and links say.
	Pages          bool
	AllowedOrigins []string
	TrustedProxies []netip.Prefix

	Feed    FeedTiming
	Session SessionTiming
	Resume  Resume
	Limits  Limits
	Stream  Stream
	Drain   Drain

	Registry *prometheus.Registry
	Logger   *slog.Logger
}

// Supabase says where the project is and how it is called.
type Supabase struct {
	URL             string
	ServiceRoleKey  string
	AnonKey         string
	RealtimeVersion phoenix.Version
	RequestTimeout  time.Duration
	FunctionTimeout time.Duration
	// AuthorizePerSecond bounds how many unknown tokens are authorised upstream, those of sessions and those of links each.
	AuthorizePerSecond int
	// Dial opens every connection to Supabase; nil means the network and the proxy of the environment.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// FeedTiming is feed.Options' times.
type FeedTiming struct {
	Overlap, PollAfter, PollInterval, ReconcileInterval, CatchUpOverlap time.Duration
	Heartbeat, SocketMaxAge, UnpublishedRetry                           time.Duration
}

// SessionTiming is session.Options' times.
type SessionTiming struct {
	CachePositive, CacheNegative, RecheckInterval, ConfirmWithin, TicketLife time.Duration
	AuthorizeConcurrency                                                     int
}

// Resume bounds what is kept for visitors who come back.
type Resume struct {
	Window                    time.Duration
	WindowEvents, WindowBytes int
}

// Limits bound what one visitor, one address and the process may use.
type Limits struct {
	ConnectionsPerSession, ConnectionsPerAddress, Connections int
	NewConnectionsPerSecond, WaitingConnections               int
	MessagesPerMinute, FailedTokensPerMinute                  int
	FramesPerSecond, BroadcastsPerSecond, CallsPerSecond      int
	FrameBytes, RealtimeFrameBytes, BodyBytes                 int
	QueueBytes, QueueEvents                                   int
	HeaderBytes, MessageMaxLength, HistoryMax                 int
	HeaderTimeout, AuthenticateTimeout, WriteTimeout          time.Duration
}

// Stream is the life of one connection.
type Stream struct{ MaxAge, KeepAlive, Retry time.Duration }

// Drain is how a stop goes.
type Drain struct{ Period, Max time.Duration }

func (o *Options) complete() error {
	if o.Supabase.URL == "" || o.Supabase.ServiceRoleKey == "" {
		return errors.New("new proxy: the Supabase URL and the service role key are required")
	}
	if o.Listener == nil || o.AdminListener == nil {
		return errors.New("new proxy: both listeners are required")
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.SigningKeys) == 0 {
		key := sha256.Sum256([]byte("realtime-proxy signing key " + o.Supabase.ServiceRoleKey))
		o.SigningKeys = [][]byte{key[:]}
	}
	if o.Limits.HeaderBytes <= 0 {
		o.Limits.HeaderBytes = 32 << 10
	}
	if o.Limits.WaitingConnections <= 0 {
		o.Limits.WaitingConnections = 10_000
	}
	if o.Limits.HeaderTimeout <= 0 {
		o.Limits.HeaderTimeout = 10 * time.Second
	}
	if o.Limits.WriteTimeout <= 0 {
		o.Limits.WriteTimeout = 10 * time.Second
	}
	if o.Drain.Max <= 0 {
		o.Drain.Max = 150 * time.Second
	}
	if o.Drain.Period <= 0 {
		o.Drain.Period = 10 * time.Second
	}
	return nil
}
