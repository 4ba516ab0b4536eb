package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// Binding asks for the changes of a table. Empty fields are left out of the join, because the server fails a subscription
// with null in it. One bad binding fails all bindings of its channel.
type Binding struct {
	Event  string   `json:"event,omitempty"`  // INSERT, UPDATE, DELETE or *
	Schema string   `json:"schema,omitempty"` // matched with SQL LIKE
	Table  string   `json:"table,omitempty"`  // matched with SQL LIKE
	Filter string   `json:"filter,omitempty"` // column=op.value
	Select []string `json:"select,omitempty"` // columns; newer servers only
}

// ChannelSpec describes one channel of the socket.
type ChannelSpec struct {
	Topic    string // wire topic with its "realtime:" prefix, best used by nobody else
	Private  bool   // row level security of realtime.messages applies
	Bindings []Binding
	// Optional says that the other channels of the socket matter more. A refusal that waiting does not cure, and any refusal of the join
	// itself, which freezes the socket for five seconds, is then final: the channel is not joined again before the next socket.
	Optional bool
}

// Options configures a Client. URL, Key, Channels and Handler are required.
type Options struct {
	URL       string          // base URL of Supabase: http, https, ws or wss, with or without a path prefix
	Key       string          // API key, sent as query parameter; also as access_token of joins if it is a JWT
	Version   phoenix.Version // default phoenix.V2
	UserAgent string          // default "realtime-proxy"; a browser's name makes hosted gateways refuse secret keys
	Channels  []ChannelSpec   // at least one, distinct topics
	Handler   Handler

	Heartbeat        time.Duration // interval, default and maximum 25 s; the server closes a socket silent for 60 s
	HeartbeatTimeout time.Duration // default 15 s; more than the 5 s for which a refused join freezes the socket
	JoinTimeout      time.Duration // phx_join to phx_reply, default 10 s; a refusal takes the server 5 s
	LiveTimeout      time.Duration // phx_reply to subscribed, default 20 s; a cold server needs some seconds
	UnpublishedRetry time.Duration // wait before a channel with refused bindings joins again, default 1 min
	MaxAge           time.Duration // the socket is replaced after this time; 0 = never
	ReadLimit        int64         // bytes of a frame, default 4 MiB; change frames may exceed 1 MiB

	BackoffMin time.Duration // cap of the first wait, default 500 ms; the cap doubles from wait to wait
	BackoffMax time.Duration // greatest cap, default 30 s

	// NetDial opens the connection, nil means a net.Dialer and the proxy of the environment.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	Rand    func() float64 // jitter in [0, 1), nil means math/rand/v2; called by the goroutine of Run only
	Logger  *slog.Logger   // nil discards
}

const (
	maxHeartbeat     = 25 * time.Second
	defaultReadLimit = 4 << 20
)

func (o *Options) setDefaults() {
	setDefault(&o.Version, phoenix.V2)
	setDefault(&o.UserAgent, "realtime-proxy")
	setDefault(&o.Heartbeat, maxHeartbeat)
	setDefault(&o.HeartbeatTimeout, 15*time.Second)
	setDefault(&o.JoinTimeout, 10*time.Second)
	setDefault(&o.LiveTimeout, 20*time.Second)
	setDefault(&o.UnpublishedRetry, time.Minute)
	setDefault(&o.ReadLimit, defaultReadLimit)
	setDefault(&o.BackoffMin, 500*time.Millisecond)
	setDefault(&o.BackoffMax, 30*time.Second)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// validate checks options whose defaults are set.
func (o *Options) validate() error {
	var errs []error
	add := func(bad bool, text string) {
		if bad {
			errs = append(errs, errors.New(text))
		}
	}
	add(o.Key == "", "key is empty")
	add(o.Handler == nil, "handler is nil")
	add(len(o.Channels) == 0, "no channels")
	add(o.Version != phoenix.V1 && o.Version != phoenix.V2, "unknown version")
	add(o.Heartbeat < 0 || o.Heartbeat > maxHeartbeat, "heartbeat must be in (0 s, 25 s]")
	add(o.ReadLimit < 0 || o.MaxAge < 0, "negative limit")
	add(min(o.HeartbeatTimeout, o.JoinTimeout, o.LiveTimeout, o.UnpublishedRetry, o.BackoffMin) < 0, "negative duration")
	add(o.BackoffMax < o.BackoffMin, "back-off maximum is below its minimum")
	topics := map[string]bool{}
	for _, ch := range o.Channels {
		name, ok := strings.CutPrefix(ch.Topic, phoenix.TopicPrefix)
		if !ok || name == "" {
			errs = append(errs, fmt.Errorf("topic %q is not realtime:<name>", ch.Topic))
		}
		if topics[ch.Topic] {
			errs = append(errs, fmt.Errorf("topic %q twice", ch.Topic))
		}
		topics[ch.Topic] = true
	}
	return errors.Join(errs...)
}
