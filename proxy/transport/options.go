package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Values of Options.SendVia.
const (
	SendViaFunction = "function"
	SendViaInsert   = "insert"
)

// Hub is what transport needs of the hub beyond the attachments that a Backfiller hands out.
type Hub interface {
	EachSubscriber(do func(*chat.Subscriber))
	// Mark and ReplyAfter find the stored row of an agent's reply.
	Mark(v *chat.Visitor) uint64
	ReplyAfter(v *chat.Visitor, mark uint64, text string) (id string, ok bool)
	PublishUnstored(v *chat.Visitor, id, text string)
	// ClassKey and CursorAt serve the Realtime front: who may share broadcasts, and where a channel without a past begins.
	ClassKey(v *chat.Visitor) string
	CursorAt(v *chat.Visitor, at time.Time) string
}

// Options configure a Server. The interfaces are required; a number that is not positive takes its default.
type Options struct {
	Authorizer Authorizer
	Backfiller Backfiller
	Functions  Functions
	Store      Store
	Hub        Hub
	// Links (may be nil) knows the restrictions of links; without it only sessions are held to them.
	Links Links
	// LinkTurns (may be nil) bounds the link tokens that are judged.
	LinkTurns LinkTurns
	// Endings (may be nil) ends sessions that the function cannot end, and is told of those that it ended.
	Endings Endings
	// Track (may be nil) is told that a stream of the visitor is open, until untrack.
	Track func(*chat.Visitor) (untrack func())
	// Now is the database's clock, for stamps. Default time.Now.
	Now func() time.Time
	// Reached is a time that the database's clock has surely reached. Default Now.
	Reached func() time.Time

	// AllowedOrigins are the pages (scheme://host[:port]) that may call from a browser; "*" is any. A request without
	// Origin always may.
	AllowedOrigins []string
	// OwnPages says that pages are served on the visitors' port. They may call too, whatever link they show.
	OwnPages bool
	// TrustedProxies are the networks whose forwarding headers are believed.
	TrustedProxies []netip.Prefix

	// Table is the messages table as Realtime clients know it.
	Table chat.Table
	// AnonKey is the project's public key, which proves no session. ServiceKey is the one that nobody may hold in a browser. Either
	// may be empty.
	AnonKey, ServiceKey chat.Token

	SendVia          string // function (default) or insert
	MaxMessageLength int    // UTF-16 code units of a message, default 4,000
	HistoryMax       int    // messages, default 200
	FrameBytes       int    // one inbound WebSocket message, default 16 KiB
	RealtimeBytes    int    // one inbound frame of the Realtime protocol, default 64 KiB
	BodyBytes        int    // one request body, default 64 KiB
	QueueBytes       int    // one subscriber's queue, default 256 KiB
	QueueEvents      int    // one subscriber's queue, default 1,000

	AuthenticateTimeout time.Duration // a WebSocket's first message, default 10 s
	WriteTimeout        time.Duration // one write, default 10 s
	KeepAlive           time.Duration // between signs of life on an idle stream, default 25 s
	Retry               time.Duration // what a visitor waits before coming back, default 2 s
	MaxAge              time.Duration // of a stream, shortened by up to a fifth at random, default 2 h
	ResumeWindow        time.Duration // for which the place of a lost Realtime channel is remembered, default 2 min
	RefusalDelay        time.Duration // before a refused Realtime join is answered, default 3 s
	DrainPeriod         time.Duration // over which Drain spreads the ends of streams, default 10 s
	DrainMax            time.Duration // for sends that are still being answered, default 150 s
	FunctionTimeout     time.Duration // one function call, default 150 s

	ConnectionsPerSession int // streams, default 5
	ConnectionsPerAddress int // streams of one IPv4 address or IPv6 /64, default 50
	Connections           int // streams of the process, default 20,000
	// NewConnectionsPerSecond is how many streams a second may begin in the process; twice as many at once. Default 2,000. Those whose
	// credential is refused do not count.
	NewConnectionsPerSecond int
	MessagesPerMinute       int // of a session whose link says nothing, default 10
	FailedTokensPerMinute   int // of one address, those being judged included; default 20
	FramesPerSecond         int // inbound, of one WebSocket; twice as many at once; default 100
	BroadcastsPerSecond     int // of one Realtime socket; twice as many at once; default 25
	CallsPerSecond          int // of the links' function, from one address; twice as many at once; default 20

	Registerer prometheus.Registerer // nil registers nothing
	Logger     *slog.Logger
	// Rand returns a number in [0, 1) for jitter. Default math/rand/v2.
	Rand func() float64
}

func (o *Options) complete() error {
	if o.Authorizer == nil || o.Backfiller == nil || o.Functions == nil || o.Store == nil || o.Hub == nil {
		return errors.New("new transport: Authorizer, Backfiller, Functions, Store and Hub are required")
	}
	orDefault(&o.SendVia, SendViaFunction)
	if o.SendVia != SendViaFunction && o.SendVia != SendViaInsert {
		return fmt.Errorf("new transport: SendVia %q is neither function nor insert", o.SendVia)
	}
	if o.Track == nil {
		o.Track = func(*chat.Visitor) func() { return func() {} }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Reached == nil {
		o.Reached = o.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Table = o.Table.WithDefaults()
	o.completeNumbers()
	return nil
}

func (o *Options) completeNumbers() {
	orDefault(&o.MaxMessageLength, 4000)
	orDefault(&o.HistoryMax, 200)
	orDefault(&o.FrameBytes, 16<<10)
	orDefault(&o.BodyBytes, 64<<10)
	orDefault(&o.QueueBytes, 256<<10)
	orDefault(&o.QueueEvents, 1000)
	orDefault(&o.AuthenticateTimeout, 10*time.Second)
	orDefault(&o.WriteTimeout, 10*time.Second)
	orDefault(&o.KeepAlive, 25*time.Second)
	orDefault(&o.Retry, 2*time.Second)
	orDefault(&o.MaxAge, 2*time.Hour)
	orDefault(&o.DrainPeriod, 10*time.Second)
	orDefault(&o.DrainMax, 150*time.Second)
	orDefault(&o.FunctionTimeout, 150*time.Second)
	orDefault(&o.ConnectionsPerSession, 5)
	orDefault(&o.ConnectionsPerAddress, 50)
	orDefault(&o.Connections, 20_000)
	orDefault(&o.NewConnectionsPerSecond, 2000)
	orDefault(&o.MessagesPerMinute, 10)
	orDefault(&o.FailedTokensPerMinute, 20)
	orDefault(&o.RealtimeBytes, 64<<10)
	orDefault(&o.ResumeWindow, 2*time.Minute)
	orDefault(&o.RefusalDelay, 3*time.Second)
	orDefault(&o.FramesPerSecond, 100)
	orDefault(&o.BroadcastsPerSecond, 25)
	orDefault(&o.CallsPerSecond, 20)
}

func orDefault[T int | time.Duration | string](v *T, def T) {
	var zero T
	if *v <= zero {
		*v = def
	}
}
