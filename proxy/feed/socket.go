package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// wire is a *realtime.Client.
type wire interface {
	Run(ctx context.Context) error
	RTT() time.Duration
	HeartbeatPending() time.Duration
}

// socket is one client of the messages table: the current one or, while it is to be replaced, a fresh one beside it. Only
// the current one feeds the hub.
type socket struct {
	feed   *Feed
	wire   wire
	canary string             // topic of the canary's channel, "" for none
	stop   context.CancelFunc // owned by the loop, nil before start
	// freshAt is when a row last came soon after its commit, in nanoseconds since 1970.
	freshAt atomic.Int64
	// canaryRound is a number for the last confirmation of the canary's channel, 0 while it is not live.
	canaryRound atomic.Uint64

	explained string // what a person was last told to do; owned by the wire

	mu sync.Mutex
	// What was reported since the last call of news, coalesced: state is the last one.
	state           realtime.State
	lost, confirmed bool
	reported        bool
}

// newSocket makes a socket with the one table-wide binding of the messages table, and the canary's channel behind it. The control
// channels have a socket of their own, because a refused join freezes its socket for five seconds and is tried again; the canary's is not.
func (f *Feed) newSocket() (*socket, error) {
	s := &socket{feed: f}
	o := f.opts.Realtime
	t := f.opts.Tables
	o.MaxAge = 0 // the loop recycles: a fresh socket is live before the old one goes
	o.Channels = []realtime.ChannelSpec{{
		Topic:    randomTopic("messages"),
		Bindings: []realtime.Binding{{Event: "*", Schema: t.Schema, Table: t.Messages}},
	}}
	if f.canary != nil {
		s.canary = randomTopic("canary")
		o.Channels = append(o.Channels, f.canary.spec(s.canary))
	}
	o.Handler = s
	o.Logger = f.opts.Logger.With("socket", "messages")
	var err error
	s.wire, err = f.newWire(o)
	return s, err
}

func newClient(o realtime.Options) (wire, error) { return realtime.New(o) }

// OnStatus follows the channel. Every confirmation of the subscription, also a repeated one, owes a catch-up: the server may have
// dropped changes before it.
func (s *socket) OnStatus(status realtime.Status) {
	if s.canary != "" && status.Topic == s.canary {
		s.feed.canary.onStatus(s, status)
		return
	}
	if planted == "trust the join reply" {
		switch status.State {
		case realtime.StateJoined:
			status.State = realtime.StateLive
		case realtime.StateLive:
			return
		}
	}
	s.mu.Lock()
	switch {
	case status.State == realtime.StateLive:
		s.confirmed = true
	case status.State != realtime.StateJoined:
		s.lost = s.lost || s.state == realtime.StateJoined || s.state == realtime.StateLive
		s.confirmed = false
	}
	s.state, s.reported = status.State, true
	s.mu.Unlock()
	if status.State == realtime.StateLive {
		s.explained = ""
	} else {
		s.explain(status.Err)
	}
	s.feed.signal()
}

// news returns what has happened since the last call, as events in the order of a start.
func (s *socket) news() (events []event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reported {
		return nil
	}
	if s.lost {
		events = append(events, evLost)
	}
	switch {
	case s.state == realtime.StateLive && s.confirmed:
		events = append(events, evConfirmed)
	case s.state == realtime.StateJoined:
		events = append(events, evAccepted)
	}
	s.lost, s.confirmed, s.reported = false, false, false
	return events
}

// takeLive reports whether the socket's subscription stands, as an event that has then been told.
func (s *socket) takeLive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != realtime.StateLive {
		return false
	}
	s.lost, s.confirmed, s.reported = false, false, false
	return true
}

// explain says once what a person must do about a refusal.
func (s *socket) explain(err error) {
	f := s.feed
	switch {
	case err == nil || err.Error() == s.explained:
	case realtime.NotPublished(err):
		s.explained = err.Error()
		f.log.Error("the messages table is not published: new messages come by polling until it is",
			"remedy", publishSQL(f.opts.Tables.Schema, f.opts.Tables.Messages))
	case realtime.IsConfiguration(err):
		s.explained = err.Error()
		f.log.Error("realtime refuses the proxy: new messages come by polling", "err", err)
	}
}

// OnBroadcast ignores broadcasts: nobody sends any on this topic.
func (s *socket) OnBroadcast(string, string, json.RawMessage, json.RawMessage) {}

// randomTopic names a topic that nobody else uses: a server encodes a change once for a topic and may send it in another
// subscriber's protocol version.
func randomTopic(what string) string {
	return fmt.Sprintf("realtime:proxy-%s-%08x", what, rand.Uint32())
}
