package standin

import (
	"encoding/base64"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const (
	presenceLimit  = 5 // calls of one client in presenceWindow
	presenceWindow = 30 * time.Second
)

// member is one tracked presence.
type member struct {
	channel  *channel
	key      string
	ref      string
	previous string
	payload  map[string]any
}

// presenceCalls counts the presence calls of a channel.
type presenceCalls struct {
	since time.Time
	n     int
}

func (p *presenceCalls) allow(now time.Time) bool {
	if now.Sub(p.since) >= presenceWindow {
		p.since, p.n = now, 0
	}
	p.n++
	return p.n <= presenceLimit
}

func (c *channel) key() topicKey { return topicKey{topic: c.topic, private: c.private} }

func newPresenceRef() string {
	id := uuid.New()
	return base64.URLEncoding.EncodeToString(id[:12])
}

// append writes "key":{"metas":[{...}]}.
func (m *member) append(dst []byte) []byte {
	dst = append(appendString(dst, m.key), `:{"metas":[{"phx_ref":`...)
	dst = appendString(dst, m.ref)
	if m.previous != "" {
		dst = appendString(append(dst, `,"phx_ref_prev":`...), m.previous)
	}
	for _, key := range sortedKeys(m.payload, elixirText) {
		dst = append(append(append(dst, ','), appendString(nil, key)...), ':')
		dst = appendJSON(dst, m.payload[key], elixirText)
	}
	return append(dst, "}]}"...)
}

// presenceStateLocked sends who is there to a channel that has just joined.
func (rt *realtime) presenceStateLocked(c *channel) {
	payload := []byte{'{'}
	for i, m := range rt.members[c.key()] {
		if i > 0 {
			payload = append(payload, ',')
		}
		payload = m.append(payload)
	}
	c.socket.push(phoenix.Message{JoinRef: c.joinRef, Topic: c.topic, Event: phoenix.EventPresenceState, Payload: append(payload, '}')})
}

func (rt *realtime) presencePushLocked(c *channel, m phoenix.Message) {
	if !c.presence.allow(time.Now()) {
		rt.failLocked(c, "Client presence rate limit exceeded")
		return
	}
	decoded, _ := decodeJSON(m.Payload)
	push, _ := decoded.(map[string]any)
	switch push["event"] {
	case "track":
		payload, ok := push["payload"].(map[string]any)
		if !ok && push["payload"] != nil {
			c.socket.refuse(c.joinRef, m, "Presence track payload must be a map")
			return
		}
		c.socket.push(phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
		rt.trackLocked(c, payload)
	case "untrack":
		c.socket.push(phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
		rt.untrackLocked(c)
	}
}

func (rt *realtime) memberLocked(c *channel) int {
	return slices.IndexFunc(rt.members[c.key()], func(m *member) bool { return m.channel == c })
}

func (rt *realtime) trackLocked(c *channel, payload map[string]any) {
	if c.config.presenceKey == "" {
		c.config.presenceKey = uuid.NewString()
	}
	joined := &member{channel: c, key: c.config.presenceKey, ref: newPresenceRef(), payload: payload}
	var left *member
	if i := rt.memberLocked(c); i >= 0 {
		left = rt.members[c.key()][i]
		joined.previous = left.ref
		rt.members[c.key()][i] = joined
	} else {
		rt.members[c.key()] = append(rt.members[c.key()], joined)
	}
	rt.presenceDiffLocked(c.key(), joined, left)
}

func (rt *realtime) untrackLocked(c *channel) {
	i := rt.memberLocked(c)
	if i < 0 {
		return
	}
	key := c.key()
	left := rt.members[key][i]
	rt.members[key] = slices.Delete(rt.members[key], i, i+1)
	if len(rt.members[key]) == 0 {
		delete(rt.members, key)
	}
	rt.presenceDiffLocked(key, nil, left)
}

func (rt *realtime) presenceDiffLocked(key topicKey, joined, left *member) {
	payload := []byte(`{"joins":{`)
	if joined != nil {
		payload = joined.append(payload)
	}
	payload = append(payload, `},"leaves":{`...)
	if left != nil {
		payload = left.append(payload)
	}
	payload = append(payload, "}}"...)
	for _, c := range rt.channels {
		if c.key() == key && c.config.presence {
			c.socket.push(phoenix.Message{Topic: c.topic, Event: phoenix.EventPresenceDiff, Payload: payload})
		}
	}
}
