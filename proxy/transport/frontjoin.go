package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const subscribedText = "Subscribed to PostgreSQL"

// frontJoin is what a join asks for. It is not changed after the join.
type frontJoin struct {
	ack, self bool // of broadcasts
	presence  bool
	private   bool
	legacy    bool // the topic itself names schema, table and filter
	bindings  []*frontBinding
	problem   string // why there will be no changes, in the words of the real server
}

func (j *frontJoin) wantsChanges() bool { return len(j.bindings) > 0 && j.problem == "" }

// join answers a phx_join, now or later.
func (f *front) join(m phoenix.Message) {
	subtopic, ok := strings.CutPrefix(m.Topic, phoenix.TopicPrefix)
	if !ok {
		f.push(errorReply(phoenix.Ref{}, m.Ref, m.Topic, "unmatched topic"))
		return
	}
	if len(m.Topic) > maxTopicBytes {
		f.push(errorReply(m.JoinRef, m.Ref, m.Topic, "TopicNameTooLong: The topic name is too long"))
		return
	}
	c := &frontChannel{front: f, topic: m.Topic, joinRef: m.JoinRef, ref: m.Ref, began: f.server.opts.Reached()}
	if !f.place(c) {
		f.push(errorReply(m.JoinRef, m.Ref, m.Topic, "ChannelRateLimitReached: Too many channels"))
		return
	}
	join, keys, response, ref := f.server.parseJoin(subtopic, m.Payload)
	if ref == nil {
		ref = f.refuseKeys(keys)
	}
	if ref != nil {
		f.mu.Lock()
		if !c.done {
			f.refuseLaterLocked(c, ref)
		}
		f.mu.Unlock()
		return
	}
	c.frontJoin = join
	f.spawnJoin(c, func(ctx context.Context) *frontRefusal {
		if err := f.admit(ctx, c, keys, response); err != nil {
			return f.refuseJoin(ctx, c, err)
		}
		return nil
	})
}

// place makes c the channel of its topic. One that it replaces is silent from here on, and c goes on where it was.
func (f *front) place(c *frontChannel) bool {
	f.mu.Lock()
	old := f.channels[c.topic]
	if f.shut || old == nil && len(f.channels) >= maxFrontChannels {
		f.mu.Unlock()
		return false
	}
	idle := false
	if old != nil {
		replaced := old.joinRef // not the channel: a client may join again and again
		c.replaces = &replaced
		if old.joined {
			_, c.past = f.acks.confirmed(old)
			old.forget = true
		} else {
			c.past = old.past
		}
		idle = f.detachLocked(old)
	}
	f.channels[c.topic] = c
	f.mu.Unlock()
	if idle {
		old.release()
	}
	return true
}

// parseJoin reads the payload of a join and prepares the answer.
func (s *Server) parseJoin(subtopic string, payload []byte) (j frontJoin, keys []frontKey, response []byte, ref *frontRefusal) {
	if subtopic == "" {
		return j, nil, nil, &frontRefusal{reason: "TopicNameRequired: You must provide a topic name", text: "You must provide a topic name"}
	}
	in, ok := parseFields(payload)
	if !ok {
		text := "expected params to be a :map, got: `" + inspectJSON(payload) + "`"
		return j, nil, nil, &frontRefusal{reason: "UnknownErrorOnChannel: " + text, text: text}
	}
	for _, name := range []string{"user_token", "access_token"} {
		if key := s.classify(tokenField(in[name])); key.kind != frontKeyNone {
			keys = append(keys, key)
		}
	}
	raw, sent := in["config"]
	var list []json.RawMessage
	if sent {
		list = j.parseConfig(raw)
	} else {
		j.legacy = true
		list = []json.RawMessage{legacyBinding(subtopic)}
	}
	if len(list) > maxBindings {
		return j, nil, nil, permanent("TooManyBindings", fmt.Sprintf("A channel may have at most %d bindings", maxBindings))
	}
	response = j.addBindings(list, s.opts.Table)
	return j, keys, response, nil
}

// parseConfig takes what it understands of a join's config, as the real server does, and returns the bindings.
func (j *frontJoin) parseConfig(raw json.RawMessage) (bindings []json.RawMessage) {
	config, _ := parseFields(raw)
	broadcast, _ := parseFields(config["broadcast"])
	presence, _ := parseFields(config["presence"])
	j.ack, j.self = isTrue(broadcast["ack"]), isTrue(broadcast["self"])
	j.presence, j.private = isTrue(presence["enabled"]), isTrue(config["private"])
	if json.Unmarshal(config["postgres_changes"], &bindings) != nil {
		return nil
	}
	return bindings
}

func isTrue(raw json.RawMessage) bool { return string(raw) == "true" || string(raw) == `"true"` }

func legacyBinding(subtopic string) json.RawMessage {
	names := [...]string{"schema", "table", "filter"}
	object := make(map[string]string)
	for i, part := range strings.SplitN(subtopic, ":", len(names)) {
		object[names[i]] = part
	}
	return encode(object)
}

// refuseKeys looks at what a join brings before anything is asked.
func (f *front) refuseKeys(keys []frontKey) *frontRefusal {
	session := f.key.kind == frontKeySession
	for _, key := range append(keys[:len(keys):len(keys)], f.key) {
		if key.kind == frontKeyService {
			f.server.warnOfServiceKey(f.from)
			f.server.metrics.refused(http.StatusUnauthorized)
			return refuseServiceKey
		}
		session = session || key.kind == frontKeySession
	}
	if !session {
		f.server.metrics.refused(http.StatusUnauthorized)
		return refuseNoKey
	}
	return nil
}

// admit authorises a join, attaches the channel, answers and brings it to live.
func (f *front) admit(ctx context.Context, c *frontChannel, keys []frontKey, response []byte) error {
	s := f.server
	began, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	g, key, err := f.authorizeKeys(began, keys)
	if err != nil {
		return causeOf(began, err)
	}
	if ref := c.checkBindings(g.Visitor, s.opts.Table); ref != nil {
		return &frontError{ref}
	}
	if ref := f.lease.bind(g.Visitor.SessionID); ref != nil {
		return ref
	}
	c.bound = g.Visitor.SessionID
	past := c.past
	if past == "" && c.wantsChanges() {
		past = s.front.past.take(g.Visitor.SessionID, c.topic)
	}
	from := past
	if from == "" && c.wantsChanges() {
		from = s.opts.Hub.CursorAt(g.Visitor, c.began)
	}
	a, err := s.opts.Backfiller.Join(began, g.Visitor, from, chat.SubscriberOptions{
		Dialect: chat.DialectRealtime, Wake: func() { f.wakeChannel(c) }, MaxBytes: s.opts.QueueBytes, MaxEvents: s.opts.QueueEvents,
	})
	if err != nil {
		s.front.past.keep(g.Visitor.SessionID, c.topic, past)
		c.unbind() // the channel stays until it is told
		return causeOf(began, err)
	}
	if f.attach(c, g, key, a, response) {
		f.deliver(ctx, c)
	}
	return nil
}

// authorizeKeys tries what the join brings, then the key of the URL: a page may carry a token that is stale there. What cannot be
// judged now ends the search.
func (f *front) authorizeKeys(ctx context.Context, keys []frontKey) (g *chat.Grant, used frontKey, err error) {
	err = &frontError{refuseNoKey}
	tried := make(map[chat.Token]bool)
	for _, key := range append(keys[:len(keys):len(keys)], f.key) {
		if key.kind != frontKeySession || tried[key.credential] {
			continue
		}
		tried[key.credential] = true
		if g, err = f.server.authorize(ctx, f.from, key.asCredential(f.vouchFor(key))); err == nil {
			return g, key, nil
		}
		if isPassing(err) {
			return nil, key, err
		}
	}
	return nil, used, err
}

// vouchFor returns a cursor of the session that a ticket proved here before.
func (f *front) vouchFor(key frontKey) string {
	f.mu.Lock()
	vouch := f.vouch
	f.mu.Unlock()
	if vouch != "" && key == f.key {
		return vouch
	}
	return f.server.front.past.vouch(key.credential)
}

// attach gives the channel what it holds and answers the join, unless the channel is over. Nothing of it is written before this answer.
func (f *front) attach(c *frontChannel, g *chat.Grant, key frontKey, a *chat.Attachment, response []byte) bool {
	s := f.server
	f.acks.start(c, a.Cursor())
	gate := s.gates.enter(f.from, g.Visitor, func(ref *chat.Refusal) {
		s.logFrontRefusal(f, ref)
		a.Subscriber.End(disconnectOf(ref), nil)
	})
	untrack := s.opts.Track(g.Visitor)
	c.room = roomKey{s.opts.Hub.ClassKey(g.Visitor), c.topic, c.private}
	s.front.rooms.enter(c)
	f.mu.Lock()
	c.attachment, c.gate, c.untrack, c.sub, c.token = a, gate, untrack, a.Subscriber, key.credential
	if key == f.key && isTicket(key.credential) {
		f.vouch = a.Cursor()
	}
	if c.done {
		f.mu.Unlock()
		return false
	}
	c.joined = true
	f.pushLocked(nil, phoenix.Reply(c.joinRef, c.ref, c.topic, phoenix.StatusOK, response))
	for _, m := range c.closesOld() {
		f.pushLocked(nil, m)
	}
	if c.presence {
		f.pushLocked(c, phoenix.Message{JoinRef: c.joinRef, Topic: c.topic, Event: phoenix.EventPresenceState})
	}
	switch {
	case c.problem != "":
		f.pushLocked(c, c.system(phoenix.ExtensionPostgresChanges, phoenix.StatusError, c.problem))
	case len(c.bindings) > 0:
		f.pushLocked(c, c.system(phoenix.ExtensionPostgresChanges, phoenix.StatusOK, subscribedText))
	}
	c.replaces = nil
	f.mu.Unlock()
	return true
}
