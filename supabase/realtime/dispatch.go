package realtime

import (
	"encoding/json"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// dispatch acts on one message. Messages of other topics, of earlier joins and of unknown kinds are ignored.
func (s *conn) dispatch(m phoenix.Message) error {
	if m.Topic == phoenix.TopicPhoenix {
		s.onSocketReply(m)
		return nil
	}
	ch := s.c.byTopic[m.Topic]
	if ch == nil {
		return nil
	}
	switch m.Event {
	case phoenix.EventPostgresChanges:
		s.onChange(ch, m)
	case phoenix.EventBroadcast:
		s.onBroadcast(ch, m)
	case phoenix.EventReply:
		return s.onReply(ch, m, time.Now())
	case phoenix.EventSystem:
		return s.onSystem(ch, m, time.Now())
	case phoenix.EventClose, phoenix.EventError:
		s.onEnd(ch, m, time.Now())
	}
	return nil
}

func (s *conn) onChange(ch *channel, m phoenix.Message) {
	if !ch.open() {
		return
	}
	change, err := parseChange(m.Topic, m.Payload)
	if err != nil {
		s.c.log.Warn("change ignored", "topic", m.Topic, "err", err, "bytes", len(m.Payload))
		return
	}
	s.c.opts.Handler.OnChange(change)
}

func (s *conn) onBroadcast(ch *channel, m phoenix.Message) {
	if !ch.open() {
		return
	}
	if b := m.Binary; b != nil {
		if b.Kind == phoenix.KindUserBroadcast && b.JSON {
			s.c.opts.Handler.OnBroadcast(m.Topic, b.UserEvent, b.Meta, b.Payload)
		}
		return
	}
	event, meta, payload := parseBroadcast(m.Payload)
	s.c.opts.Handler.OnBroadcast(m.Topic, event, meta, payload)
}

// onSystem acts on messages about the bindings. Other system errors announce a phx_close and explain it.
func (s *conn) onSystem(ch *channel, m phoenix.Message, now time.Time) error {
	if !ch.open() || !ch.owns(m) {
		return nil
	}
	var p phoenix.SystemPayload
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		s.c.log.Warn("system message ignored", "topic", m.Topic, "err", err)
		return nil
	}
	switch bindings := p.Extension == phoenix.ExtensionPostgresChanges; {
	case bindings && p.Status == phoenix.StatusOK:
		s.live(ch, now)
	case bindings:
		return s.abandon(ch, &SubscribeError{Topic: m.Topic, Message: p.Message}, now)
	case p.Status == phoenix.StatusError:
		ch.lastWords = p.Message
	}
	return nil
}

// onEnd acts on phx_close and phx_error of the current join. The end of a join that another has replaced arrives after the
// reply to that other.
func (s *conn) onEnd(ch *channel, m phoenix.Message, now time.Time) {
	if ch.joinRef.IsNull() || !ch.owns(m) {
		return
	}
	s.fail(ch, &ChannelError{Topic: m.Topic, Event: m.Event, Message: ch.lastWords}, now)
}
