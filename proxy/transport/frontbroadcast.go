package transport

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// roomKey names who hears a broadcast: the channels of one topic of the visitors that the rule treats alike.
type roomKey struct {
	class, topic string
	private      bool
}

// rooms are the joined channels by whom they hear.
type rooms struct {
	mu      sync.Mutex
	members map[roomKey][]*frontChannel
}

// enter is called before a join is answered: whoever sees the answer is heard by the channel.
func (r *rooms) enter(c *frontChannel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members[c.room] = append(r.members[c.room], c)
}

func (r *rooms) leave(c *frontChannel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.members[c.room]
	i := slices.Index(left, c)
	if i < 0 {
		return
	}
	left[i] = left[len(left)-1]
	left[len(left)-1] = nil
	if left = left[:len(left)-1]; len(left) == 0 {
		delete(r.members, c.room)
		return
	}
	r.members[c.room] = left
}

// send queues a broadcast for the channels of a room but one.
func (r *rooms) send(key roomKey, b *frontBroadcast, except *frontChannel) {
	r.mu.Lock()
	members := slices.Clone(r.members[key])
	r.mu.Unlock()
	for _, c := range members {
		if c != except {
			c.hear(b)
		}
	}
}

// frontBroadcast is one message among clients.
type frontBroadcast struct {
	event   string
	meta    json.RawMessage
	payload []byte
	json    bool            // payload is JSON; otherwise clients of vsn 1.0.0 cannot be told
	whole   json.RawMessage // of a sender of vsn 1.0.0, whose messages are text for all

	frames [2]frontFrame // by version, made for the first who needs them
	made   [2]bool
}

// pushedBroadcast reads what a client sent.
func pushedBroadcast(m phoenix.Message) (*frontBroadcast, bool) {
	if b := m.Binary; b != nil {
		return &frontBroadcast{event: b.UserEvent, meta: b.Meta, payload: b.Payload, json: b.JSON}, true
	}
	_, ok := parseFields(m.Payload)
	return &frontBroadcast{whole: m.Payload}, ok
}

// textBroadcast is a message of the batch endpoint: text for all.
func textBroadcast(event string, payload json.RawMessage) *frontBroadcast {
	b := &frontBroadcast{event: event, payload: payload}
	b.whole = b.object()
	return b
}

// object is the payload of the text form.
func (b *frontBroadcast) object() json.RawMessage {
	p := append([]byte(`{"event":`), encode(b.event)...)
	if len(b.meta) > 0 {
		p = append(append(p, `,"meta":`...), b.meta...)
	}
	p = append(append(p, `,"payload":`...), b.payload...)
	return append(p, `,"type":"broadcast"}`...)
}

// frame returns the message for a version; no bytes where that cannot receive it. It is called by one goroutine.
func (b *frontBroadcast) frame(topic string, v phoenix.Version) frontFrame {
	i := 0
	if v == phoenix.V2 {
		i = 1
	}
	if b.made[i] {
		return b.frames[i]
	}
	b.made[i] = true
	m := phoenix.Message{Topic: topic, Event: phoenix.EventBroadcast}
	switch {
	case b.whole != nil:
		m.Payload = b.whole
	case v == phoenix.V2:
		m.Binary = &phoenix.Binary{
			Kind: phoenix.KindUserBroadcast, UserEvent: b.event, Meta: b.meta, JSON: b.json, Payload: b.payload,
		}
	case b.json:
		m.Payload = b.object()
	default:
		return frontFrame{}
	}
	if data, binary, err := phoenix.EncodeServer(v, nil, m); err == nil {
		b.frames[i] = frontFrame{data: data, binary: binary}
	}
	return b.frames[i]
}

// hear queues a broadcast for one channel.
func (c *frontChannel) hear(b *frontBroadcast) {
	f := c.front
	frame := b.frame(c.topic, f.version)
	if frame.data == nil {
		return
	}
	frame.of = c
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.joined && !c.done {
		f.queueLocked(frame)
	}
}
