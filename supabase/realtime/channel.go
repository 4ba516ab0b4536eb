package realtime

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// channel is one topic of the socket. It is owned by Run.
type channel struct {
	spec        ChannelSpec
	joinPayload json.RawMessage

	state     State
	joinRef   phoenix.Ref // of the current join; null while none is wanted
	deadline  time.Time   // of joining and of joined; zero = none
	retryAt   time.Time   // of errored: when to join again; zero = not on this socket
	liveSince time.Time   // zero unless live
	backoff   backoff
	lastWords string // system error that announces a phx_close
}

type joinPayload struct {
	Config      joinConfig `json:"config"`
	AccessToken string     `json:"access_token,omitempty"`
}

type joinConfig struct {
	Broadcast struct {
		Ack  bool `json:"ack"`
		Self bool `json:"self"`
	} `json:"broadcast"`
	Presence struct {
		Key     string `json:"key"`
		Enabled bool   `json:"enabled"`
	} `json:"presence"`
	Private  bool      `json:"private"`
	Bindings []Binding `json:"postgres_changes"`
}

func newChannel(spec ChannelSpec, token string) (*channel, error) {
	p := joinPayload{AccessToken: token}
	p.Config.Private = spec.Private
	p.Config.Bindings = append([]Binding{}, spec.Bindings...)
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("join of %s: %w", spec.Topic, err)
	}
	return &channel{spec: spec, joinPayload: raw}, nil
}

// begin forgets what the last socket left.
func (ch *channel) begin(b backoff) {
	ch.joinRef, ch.deadline, ch.retryAt, ch.liveSince, ch.lastWords = phoenix.Ref{}, time.Time{}, time.Time{}, time.Time{}, ""
	ch.backoff = b
}

// open reports whether the server has accepted the join.
func (ch *channel) open() bool {
	return ch.state == StateJoined || ch.state == StateLive
}

// owns reports whether a message with these refs concerns the current join. System messages and the ends of channels carry
// the join ref on vsn 2.0.0; on 1.0.0 the ends carry it as ref and system messages carry none.
func (ch *channel) owns(m phoenix.Message) bool {
	ref := m.JoinRef
	if ref.IsNull() {
		ref = m.Ref
	}
	return ref.IsNull() || ref == ch.joinRef
}

// wake returns when the channel needs attention next, zero for never.
func (ch *channel) wake() time.Time {
	if ch.state == StateErrored {
		return ch.retryAt
	}
	return ch.deadline
}
