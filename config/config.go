package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config is the whole configuration. Its sections mirror the parts of the proxy.
type Config struct {
	// Listen is the address of the visitor port, host:port with an optional host.
	Listen string `mapstructure:"listen"`
	// TrustedProxies are the networks whose forwarding headers are believed; empty means nobody's.
	TrustedProxies []netip.Prefix `mapstructure:"trusted_proxies"`
	// SigningKeys sign cursors and tickets: the first signs, all verify. Empty means derived from the service key.
	SigningKeys []Secret `mapstructure:"signing_keys"`

	Admin    Admin    `mapstructure:"admin"`
	Log      Log      `mapstructure:"log"`
	Supabase Supabase `mapstructure:"supabase"`
	Names    Names    `mapstructure:"names"`
	Chat     Chat     `mapstructure:"chat"`
	Feed     Feed     `mapstructure:"feed"`
	Session  Session  `mapstructure:"session"`
	Resume   Resume   `mapstructure:"resume"`
	Limits   Limits   `mapstructure:"limits"`
	Stream   Stream   `mapstructure:"stream"`
	CORS     CORS     `mapstructure:"cors"`
	Drain    Drain    `mapstructure:"drain"`
}

// Admin is the operator's port.
type Admin struct {
	Listen string `mapstructure:"listen"` // host:port; it has no authentication, keep it off public networks
	PProf  bool   `mapstructure:"pprof"`  // serve profiles under /debug/pprof/
}

// Log is what is logged and how.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // auto (text on a terminal, else JSON), text or json
}

// Leveler returns Level for a slog handler; a level that Load would refuse counts as info.
func (l Log) Leveler() slog.Leveler {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// Supabase is the project that the proxy serves.
type Supabase struct {
	URL                string        `mapstructure:"url"`              // base URL, no trailing slash
	ServiceRoleKey     Secret        `mapstructure:"service_role_key"` // JWT or sb_secret_ key
	AnonKey            Secret        `mapstructure:"anon_key"`         // JWT or sb_publishable_ key; may be empty
	RealtimeVersion    string        `mapstructure:"realtime_version"` // Phoenix serializer version, 1.0.0 or 2.0.0
	RequestTimeout     time.Duration `mapstructure:"request_timeout"`  // one PostgREST call
	FunctionTimeout    time.Duration `mapstructure:"function_timeout"` // one Edge Function call, the agent's answer included
	AuthorizePerSecond int           `mapstructure:"authorize_per_second"`
}

// Names are the tables, columns and functions of the project, for databases that call them otherwise.
type Names struct {
	Schema               string   `mapstructure:"schema"`
	Messages             string   `mapstructure:"messages"`
	Sessions             string   `mapstructure:"sessions"`
	Links                string   `mapstructure:"links"`
	ConversationSessions string   `mapstructure:"conversation_sessions"`
	Agents               string   `mapstructure:"agents"`
	ValidateSession      string   `mapstructure:"validate_session"` // RPC that turns a session token into a session
	Columns              []Column `mapstructure:"columns"`
}

// Column renames one column.
type Column struct {
	Table  string `mapstructure:"table"`  // key of the table under names: messages, sessions, links, conversation_sessions or agents
	Column string `mapstructure:"column"` // the name that the proxy uses
	Name   string `mapstructure:"name"`   // the name in the database
}

// Renames returns the renamed columns of one table as canonical name to actual name, empty if there are none.
func (n Names) Renames(table string) map[string]string {
	renames := make(map[string]string)
	for _, c := range n.Columns {
		if c.Table == table {
			renames[c.Column] = c.Name
		}
	}
	return renames
}

// Values of Chat.Visibility and Chat.SendVia.
const (
	VisibilitySession      = "session"
	VisibilityConversation = "conversation"
	SendViaFunction        = "function"
	SendViaInsert          = "insert"
)

// Chat is what a visitor sees and sends.
type Chat struct {
	Visibility       string        `mapstructure:"visibility"`         // session or conversation
	TrustSenders     bool          `mapstructure:"trust_senders"`      // skip the sender rule in conversation mode
	SendVia          string        `mapstructure:"send_via"`           // function or insert
	Overlap          time.Duration `mapstructure:"overlap"`            // how far a resume reads back behind the newest row
	HistoryMax       int           `mapstructure:"history_max"`        // messages; 0 gives no history
	MessageMaxLength int           `mapstructure:"message_max_length"` // UTF-16 code units
	Page             bool          `mapstructure:"page"`               // serve the embedded chat page at /chat
}

// Feed is how rows reach the proxy.
type Feed struct {
	PollAfter         time.Duration `mapstructure:"poll_after"`         // not live for this long: poll
	PollInterval      time.Duration `mapstructure:"poll_interval"`      // between polls while not live
	ReconcileInterval time.Duration `mapstructure:"reconcile_interval"` // between proving reads while live
	CatchUpOverlap    time.Duration `mapstructure:"catch_up_overlap"`   // how far a catch-up reads back behind what is proven
	Heartbeat         time.Duration `mapstructure:"heartbeat"`          // Phoenix closes a socket silent for 60 s
	SocketMaxAge      time.Duration `mapstructure:"socket_max_age"`     // 0: see Config.SocketMaxAge
	UnpublishedRetry  time.Duration `mapstructure:"unpublished_retry"`  // between joins of a table that is not published
	CanaryTable       string        `mapstructure:"canary_table"`       // in names.schema; empty means no canary
}

// Session is how visitors are authorised.
type Session struct {
	CachePositive        time.Duration `mapstructure:"cache_positive"`
	CacheNegative        time.Duration `mapstructure:"cache_negative"`
	RecheckInterval      time.Duration `mapstructure:"recheck_interval"` // between batched reads of connected sessions
	ConfirmWithin        time.Duration `mapstructure:"confirm_within"`   // unconfirmed for this long: closed
	TicketLife           time.Duration `mapstructure:"ticket_life"`      // to the first use
	AuthorizeConcurrency int           `mapstructure:"authorize_concurrency"`
}

// Resume is the window of rows kept in memory per conversation.
type Resume struct {
	Window       time.Duration `mapstructure:"window"` // kept after the last subscriber left
	WindowEvents int           `mapstructure:"window_events"`
	WindowBytes  int           `mapstructure:"window_bytes"`
}

// Limits bound what one visitor, one address and the process may use.
type Limits struct {
	ConnectionsPerSession   int           `mapstructure:"connections_per_session"`
	ConnectionsPerAddress   int           `mapstructure:"connections_per_address"`
	Connections             int           `mapstructure:"connections"`
	NewConnectionsPerSecond int           `mapstructure:"new_connections_per_second"`
	WaitingConnections      int           `mapstructure:"waiting_connections"`      // on which no whole request has come, yet or again
	MessagesPerMinute       int           `mapstructure:"messages_per_minute"`      // per session, unless its link says otherwise
	FailedTokensPerMinute   int           `mapstructure:"failed_tokens_per_minute"` // per address
	FramesPerSecond         int           `mapstructure:"frames_per_second"`        // inbound, per WebSocket
	BroadcastsPerSecond     int           `mapstructure:"broadcasts_per_second"`    // per Realtime socket
	CallsPerSecond          int           `mapstructure:"calls_per_second"`         // of the links' function, per address
	FrameBytes              int           `mapstructure:"frame_bytes"`              // one inbound WebSocket frame
	RealtimeFrameBytes      int           `mapstructure:"realtime_frame_bytes"`     // one inbound frame of the Realtime protocol
	BodyBytes               int           `mapstructure:"body_bytes"`               // one request body
	QueueBytes              int           `mapstructure:"queue_bytes"`              // one subscriber's queue
	QueueEvents             int           `mapstructure:"queue_events"`             // one subscriber's queue
	HeaderBytes             int           `mapstructure:"header_bytes"`             // one request's head
	HeaderTimeout           time.Duration `mapstructure:"header_timeout"`
	AuthenticateTimeout     time.Duration `mapstructure:"authenticate_timeout"` // a WebSocket's first message
	WriteTimeout            time.Duration `mapstructure:"write_timeout"`        // one write to a visitor
}

// Stream is the life of a Server-Sent Events or WebSocket connection.
type Stream struct {
	MaxAge    time.Duration `mapstructure:"max_age"`    // closed after this long, with jitter
	KeepAlive time.Duration `mapstructure:"keep_alive"` // between signs of life on an idle stream
	Retry     time.Duration `mapstructure:"retry"`      // what an EventSource waits before it comes back
}

// CORS is which pages may call the proxy from a browser.
type CORS struct {
	AllowedOrigins []string `mapstructure:"allowed_origins"` // scheme://host[:port]; "*" in development only
}

// Drain is how a stop goes.
type Drain struct {
	Period time.Duration `mapstructure:"period"` // over which streams are closed
	Max    time.Duration `mapstructure:"max"`    // for sends still being answered
}
