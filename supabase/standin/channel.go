package standin

import (
	"errors"
	"slices"
	"strings"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// channel is one joined topic of one socket. Guarded by rt.mu, except what is fixed at the join.
type channel struct {
	socket   *socket
	topic    string
	joinRef  phoenix.Ref
	private  bool
	config   joinConfig
	bindings []*binding

	token    string      // the access_token in use, "" = that of the socket
	claims   claims      // of token
	role     string      // decides what is delivered; follows claims at the next subscription
	where    []predicate // by binding; nil = no filter
	live     bool
	deaf     bool
	ended    bool
	stops    []func() // timers
	presence presenceCalls
}

// joinConfig is what a join asks for.
type joinConfig struct {
	ack, self    bool
	presence     bool
	presenceKey  string
	private      bool
	legacy       bool // no config: the topic itself names schema, table and filter
	replaySince  int64
	replayLimit  int
	bindings     []*binding
	accessTokens []string // user_token, access_token
}

func parseJoin(subtopic string, payload map[string]any) joinConfig {
	j := joinConfig{replaySince: -1}
	for _, key := range []string{"user_token", "access_token"} {
		if token, ok := payload[key].(string); ok && token != "" && !strings.HasPrefix(token, "sb_") {
			j.accessTokens = append(j.accessTokens, token)
		}
	}
	config, sent := payload["config"]
	if !sent {
		j.legacy = true
		j.bindings = []*binding{newBinding(legacyBinding(subtopic))}
		return j
	}
	object, _ := config.(map[string]any)
	broadcast, _ := object["broadcast"].(map[string]any)
	j.ack, j.self = isTrue(broadcast["ack"]), isTrue(broadcast["self"])
	if replay, ok := broadcast["replay"].(map[string]any); ok {
		j.replaySince, j.replayLimit = int64(Row(replay).integer("since")), min(25, max(1, Row(replay).integer("limit")))
	}
	presence, _ := object["presence"].(map[string]any)
	j.presence = isTrue(presence["enabled"])
	j.presenceKey, _ = presence["key"].(string)
	j.private = isTrue(object["private"])
	list, _ := object["postgres_changes"].([]any)
	for _, item := range list {
		if raw, ok := item.(map[string]any); ok {
			j.bindings = append(j.bindings, newBinding(raw))
		}
	}
	return j
}

func isTrue(v any) bool { return v == true || v == "true" }

func legacyBinding(subtopic string) map[string]any {
	raw := make(map[string]any)
	for i, part := range strings.SplitN(subtopic, ":", 3) {
		raw[[]string{"schema", "table", "filter"}[i]] = part
	}
	return raw
}

// dispatch acts on one frame of the client. It runs in the socket's reader.
func (s *socket) dispatch(m phoenix.Message) {
	if m.Topic == phoenix.TopicPhoenix {
		s.heartbeat(m)
		return
	}
	if m.Event == phoenix.EventJoin {
		s.join(m)
		return
	}
	s.rt.mu.Lock()
	defer s.rt.mu.Unlock()
	c := s.channels[m.Topic]
	switch {
	case c == nil && m.Event == phoenix.EventLeave:
		s.push(phoenix.Reply(m.JoinRef, m.Ref, m.Topic, phoenix.StatusOK, nil))
	case c == nil:
		s.unmatched(m)
	case !m.JoinRef.IsNull() && m.JoinRef != c.joinRef: // of a join that has been replaced: no answer
	case m.Event == phoenix.EventLeave:
		s.push(phoenix.Reply(c.joinRef, m.Ref, m.Topic, phoenix.StatusOK, nil))
		s.rt.closeLocked(c)
	case m.Event == phoenix.EventAccessToken:
		s.rt.refreshLocked(c, m)
	case m.Event == phoenix.EventBroadcast:
		s.rt.broadcastPushLocked(c, m)
	case m.Event == phoenix.EventPresence:
		s.rt.presencePushLocked(c, m)
	}
}

func (s *socket) heartbeat(m phoenix.Message) {
	if m.Event != phoenix.EventHeartbeat {
		s.unmatched(m)
		return
	}
	if _, mute := s.rt.s.faults.fire(MuteHeartbeats, ""); mute {
		return
	}
	s.push(phoenix.Reply(phoenix.Ref{}, m.Ref, m.Topic, phoenix.StatusOK, nil))
}

func (s *socket) unmatched(m phoenix.Message) { s.refuse(phoenix.Ref{}, m, "unmatched topic") }

func (s *socket) refuse(joinRef phoenix.Ref, m phoenix.Message, reason string) {
	response := append(appendString([]byte(`{"reason":`), reason), '}')
	s.push(phoenix.Reply(joinRef, m.Ref, m.Topic, phoenix.StatusError, response))
}

// join answers a phx_join. A refused one freezes the socket first, as on the real server.
func (s *socket) join(m phoenix.Message) {
	subtopic, ok := strings.CutPrefix(m.Topic, phoenix.TopicPrefix)
	if !ok {
		s.unmatched(m)
		return
	}
	c, reason := s.admit(m, subtopic)
	if reason != "" {
		s.freeze(s.rt.s.opts.JoinBackoff)
		s.refuse(m.JoinRef, m, reason)
		return
	}
	if late, ok := s.rt.s.faults.fire(DelayJoinReply, m.Topic); ok {
		s.freeze(late.Delay)
	}
	s.rt.open(c, m)
	if len(c.bindings) == 0 {
		return
	}
	delay := s.rt.s.opts.SubscribeDelay
	if late, ok := s.rt.s.faults.fire(DelaySystemOK, m.Topic); ok {
		delay += late.Delay
	}
	s.rt.subscribeAfter(c, delay)
}

// admit checks a join and gives its channel, or the reason for which it is refused.
func (s *socket) admit(m phoenix.Message, subtopic string) (*channel, string) {
	if subtopic == "" {
		return nil, "TopicNameRequired: You must provide a topic name"
	}
	decoded, err := decodeJSON(m.Payload)
	payload, ok := decoded.(map[string]any)
	if err != nil || !ok {
		return nil, "UnknownErrorOnChannel: expected params to be a :map, got: `" + inspect(decoded) + "`"
	}
	if fault, refused := s.rt.s.faults.fire(RefuseJoin, m.Topic); refused {
		return nil, fault.Reason
	}
	config := parseJoin(subtopic, payload)
	c := &channel{socket: s, topic: m.Topic, joinRef: m.JoinRef, private: config.private, config: config,
		bindings: config.bindings, claims: s.claims}
	if len(config.accessTokens) > 0 {
		c.token = config.accessTokens[0]
		c.claims, err = s.rt.s.keys.verify(c.token)
	} else {
		err = s.rt.s.keys.fresh(s.claims)
	}
	if refused, ok := errors.AsType[*tokenError](err); ok {
		return nil, refused.code + ": " + refused.text
	}
	c.role = c.claims.role
	if c.private && c.claims.role != roleService {
		return nil, "Unauthorized: You do not have permissions to read from this Channel topic: " + subtopic
	}
	s.rt.mu.Lock()
	defer s.rt.mu.Unlock()
	if _, replaces := s.channels[m.Topic]; !replaces && len(s.channels) >= maxChannels {
		return nil, "ChannelRateLimitReached: Too many channels"
	}
	return c, ""
}

// open makes c the channel of its topic and answers the join; a channel that it replaces is closed behind the answer.
func (rt *realtime) open(c *channel, m phoenix.Message) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	s := c.socket
	response := []byte(`{"postgres_changes":[`)
	for i, b := range c.bindings {
		if i > 0 {
			response = append(response, ',')
		}
		response = b.echo(response)
	}
	s.push(phoenix.Reply(m.JoinRef, m.Ref, m.Topic, phoenix.StatusOK, append(response, "]}"...)))
	if old := s.channels[c.topic]; old != nil {
		rt.closeLocked(old)
	}
	s.channels[c.topic] = c
	rt.channels = append(rt.channels, c)
	rt.replayLocked(c)
	if c.config.presence {
		rt.presenceStateLocked(c)
	}
	rt.watchExpiryLocked(c)
	rt.notifyLocked()
}

// closeLocked ends a channel and tells the client.
func (rt *realtime) closeLocked(c *channel) {
	c.socket.push(phoenix.Close(c.joinRef, c.topic))
	rt.endLocked(c)
}

// endLocked forgets a channel.
func (rt *realtime) endLocked(c *channel) {
	if c.ended {
		return
	}
	c.ended, c.live = true, false
	for _, stop := range c.stops {
		stop()
	}
	if c.socket.channels[c.topic] == c {
		delete(c.socket.channels, c.topic)
	}
	rt.channels = slices.DeleteFunc(rt.channels, func(other *channel) bool { return other == c })
	rt.untrackLocked(c)
	rt.notifyLocked()
}

// failLocked ends a channel with a system error.
func (rt *realtime) failLocked(c *channel, text string) {
	c.system(phoenix.StatusError, "system", text)
	rt.closeLocked(c)
}

func (c *channel) system(status, extension, text string) {
	c.socket.push(phoenix.System(c.joinRef, c.topic, phoenix.SystemPayload{
		Message: text, Status: status, Extension: extension, Channel: strings.TrimPrefix(c.topic, phoenix.TopicPrefix),
	}))
}

// matching gives the bindings that a change matches, the last one first.
func (c *channel) matching(r *rendering) []*binding {
	var found []*binding
	var row Row
	for i := len(c.bindings) - 1; i >= 0; i-- {
		b := c.bindings[i]
		if !b.matches(&r.change) {
			continue
		}
		if c.where[i] != nil && !r.unfiltered() {
			if row == nil {
				row = r.filterRow()
			}
			if c.where[i](row) != yes {
				continue
			}
		}
		found = append(found, b)
	}
	return found
}
