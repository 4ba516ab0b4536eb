package standin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// broadcast is one message to all channels of a topic.
type broadcast struct {
	topic   string // wire topic
	event   string
	private bool
	meta    json.RawMessage // empty or a JSON object
	payload []byte
	json    bool // payload is JSON; otherwise receivers of vsn 1.0.0 get nothing
	text    bool // sent as text: receivers of vsn 2.0.0 get text too
	whole   json.RawMessage
	since   int64 // ms since the epoch of a message from the database
}

const maxStored = 1000 // messages from the database that are kept for replay

// message encodes the broadcast for a receiver; ok is false when that version cannot receive it.
func (b *broadcast) message(v phoenix.Version) (m phoenix.Message, ok bool) {
	m = phoenix.Message{Topic: b.topic, Event: phoenix.EventBroadcast}
	switch {
	case b.text:
		m.Payload = b.whole
	case v == phoenix.V2:
		m.Binary = &phoenix.Binary{Kind: phoenix.KindUserBroadcast, UserEvent: b.event, Meta: b.meta, JSON: b.json, Payload: b.payload}
	case b.json:
		m.Payload = b.object(b.payload, b.meta)
	default:
		return m, false
	}
	return m, true
}

// object is the text form: event, meta, payload, type.
func (b *broadcast) object(payload, meta []byte) json.RawMessage {
	p := appendString([]byte(`{"event":`), b.event)
	if len(meta) > 0 {
		p = append(append(p, `,"meta":`...), meta...)
	}
	p = append(append(p, `,"payload":`...), payload...)
	return append(p, `,"type":"broadcast"}`...)
}

// replay is the text form of a stored message that is sent to a channel after its join.
func (b *broadcast) replay(joinRef phoenix.Ref) phoenix.Message {
	meta := append(append([]byte(nil), b.meta[:len(b.meta)-1]...), `,"replayed":true}`...)
	return phoenix.Message{JoinRef: joinRef, Topic: b.topic, Event: phoenix.EventBroadcast, Payload: b.object(compactJSON(b.payload), meta)}
}

// pushed reads the broadcast that a client pushed on its channel.
func pushed(m phoenix.Message, private bool) (*broadcast, bool) {
	b := &broadcast{topic: m.Topic, private: private}
	if m.Binary != nil {
		if m.Binary.Kind != phoenix.KindUserBroadcastPush {
			return nil, false
		}
		b.event, b.meta, b.payload, b.json = m.Binary.UserEvent, m.Binary.Meta, m.Binary.Payload, m.Binary.JSON
		return b, true
	}
	decoded, err := decodeJSON(m.Payload)
	if _, ok := decoded.(map[string]any); err != nil || !ok {
		return nil, false
	}
	b.text, b.whole = true, appendJSON(nil, decoded, elixirText)
	return b, true
}

// fanOutLocked sends b to every channel of its topic except the sender. rt.mu is held.
func (rt *realtime) fanOutLocked(b *broadcast, except *channel) {
	for _, c := range rt.channels {
		if c == except || c.topic != b.topic || c.private != b.private {
			continue
		}
		if m, ok := b.message(c.socket.version); ok {
			c.socket.push(m)
		}
	}
}

// broadcastPushLocked serves the event broadcast of a joined channel. rt.mu is held.
func (rt *realtime) broadcastPushLocked(c *channel, m phoenix.Message) {
	b, ok := pushed(m, c.private)
	if !ok {
		return
	}
	except := c
	if c.config.self {
		except = nil
	}
	rt.fanOutLocked(b, except)
	if c.config.ack {
		c.socket.push(phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
	}
}

// sendLocked delivers a broadcast from the database and keeps it for replay. rt.mu is held.
func (rt *realtime) sendLocked(b *broadcast, ms int64) {
	b.since = ms
	rt.stored = append(rt.stored, b)
	if len(rt.stored) > maxStored {
		rt.stored = append([]*broadcast(nil), rt.stored[len(rt.stored)-maxStored/2:]...)
	}
	rt.fanOutLocked(b, nil)
}

// replayLocked sends the newest stored messages of the channel's topic, oldest first. rt.mu is held.
func (rt *realtime) replayLocked(c *channel) {
	if c.config.replaySince < 0 || !c.private {
		return
	}
	var found []*broadcast
	for _, b := range rt.stored {
		if b.topic == c.topic && b.private && b.since >= c.config.replaySince {
			found = append(found, b)
		}
	}
	if len(found) > c.config.replayLimit {
		found = found[len(found)-c.config.replayLimit:]
	}
	for _, b := range found {
		c.socket.push(b.replay(c.joinRef))
	}
}

// serveAPI serves the HTTP broadcast endpoints.
func (rt *realtime) serveAPI(w http.ResponseWriter, r *http.Request, path string) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = r.Header.Get("apikey")
	}
	c, err := rt.s.keys.verify(token)
	if err != nil {
		writeJSON(w, http.StatusUnauthorized, []byte(`{"message":"Unauthorized"}`))
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	body, err := readBody(r)
	if err == nil {
		err = rt.publish(r, path, body, c.role)
	}
	switch {
	case errors.Is(err, errNoEndpoint):
		http.Error(w, "Not Found", http.StatusNotFound)
	case errors.Is(err, errForbidden):
		writeJSON(w, http.StatusForbidden, []byte(`{"message":"Forbidden"}`))
	case err != nil:
		writeJSON(w, http.StatusUnprocessableEntity, []byte(`{"errors":{"messages":["is invalid"]}}`))
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

var (
	errNoEndpoint = errors.New("no such endpoint")
	errForbidden  = errors.New("forbidden")
)

func (rt *realtime) publish(r *http.Request, path string, body []byte, role string) error {
	if path == "broadcast" {
		return rt.publishBatch(body, role)
	}
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[0] != "broadcast" || parts[2] != "events" {
		return errNoEndpoint
	}
	topic, err := url.PathUnescape(parts[1])
	if err != nil {
		return err
	}
	private := r.URL.Query().Get("private") == "true"
	if private && role != roleService {
		return errForbidden
	}
	b := &broadcast{topic: phoenix.TopicPrefix + topic, event: parts[3], private: private, payload: body,
		json: !strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream")}
	if b.json && !json.Valid(body) {
		return errors.New("body is not JSON")
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.fanOutLocked(b, nil)
	return nil
}

func (rt *realtime) publishBatch(body []byte, role string) error {
	var in struct {
		Messages []struct {
			Topic   string          `json:"topic"`
			Event   string          `json:"event"`
			Payload json.RawMessage `json:"payload"`
			Private bool            `json:"private"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	for _, m := range in.Messages {
		if m.Topic == "" || m.Event == "" || len(m.Payload) == 0 {
			return errors.New("incomplete message")
		}
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, m := range in.Messages {
		if m.Private && role != roleService {
			continue // dropped in silence, the answer is 202 all the same
		}
		b := &broadcast{topic: phoenix.TopicPrefix + m.Topic, event: m.Event, private: m.Private, text: true}
		b.whole = b.object(compactJSON(m.Payload), nil)
		rt.fanOutLocked(b, nil)
	}
	return nil
}
