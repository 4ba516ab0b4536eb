package transport

import (
	"context"
	"errors"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// dispatch acts on one frame of the client. It runs in the reader. What the real server leaves without an answer gets none here.
func (f *front) dispatch(m phoenix.Message) {
	switch {
	case m.Binary != nil && m.Binary.Kind != phoenix.KindUserBroadcastPush:
		return // nothing of the protocol comes in such a frame
	case m.Topic == phoenix.TopicPhoenix && m.Event == phoenix.EventHeartbeat:
		f.push(phoenix.Reply(phoenix.Ref{}, m.Ref, m.Topic, phoenix.StatusOK, nil))
		return
	case m.Topic != phoenix.TopicPhoenix && m.Event == phoenix.EventJoin:
		f.join(m)
		return
	}
	f.mu.Lock()
	c := f.channels[m.Topic]
	joined := c != nil && c.joined
	f.mu.Unlock()
	switch {
	case c == nil && m.Event == phoenix.EventLeave && m.Topic != phoenix.TopicPhoenix:
		f.push(phoenix.Reply(m.JoinRef, m.Ref, m.Topic, phoenix.StatusOK, nil))
	case c == nil:
		f.push(errorReply(phoenix.Ref{}, m.Ref, m.Topic, "unmatched topic"))
	case !m.JoinRef.IsNull() && m.JoinRef != c.joinRef: // of a join that has been replaced
	case m.Event == phoenix.EventLeave:
		f.leaveChannel(c, m)
	case !joined || c.sub.Ended() != nil: // clients wait for the answer to a join, and an end is final before it is written
	case m.Event == phoenix.EventAccessToken:
		f.refresh(c, m)
	case m.Event == phoenix.EventBroadcast:
		f.broadcast(c, m)
	case m.Event == phoenix.EventPresence:
		f.presence(c, m)
	}
}

// leaveChannel ends a channel as its client wishes. One that is still being joined leaves its place to the next.
func (f *front) leaveChannel(c *frontChannel, m phoenix.Message) {
	f.mu.Lock()
	if c.done {
		f.mu.Unlock()
		return
	}
	c.forget = c.joined
	idle := f.detachLocked(c)
	f.pushLocked(nil, phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
	for _, old := range c.closesOld() {
		f.pushLocked(nil, old)
	}
	f.pushLocked(nil, phoenix.Close(c.joinRef, c.topic))
	f.mu.Unlock()
	if idle {
		c.release()
	}
}

// presence answers what track and untrack ask for. Nobody is told of it.
func (f *front) presence(c *frontChannel, m phoenix.Message) {
	push, _ := parseFields(m.Payload)
	if event, _ := push.text("event"); event == "track" {
		if payload, sent := push["payload"]; sent && payload[0] != '{' && string(payload) != "null" {
			f.push(errorReply(c.joinRef, m.Ref, c.topic, "Presence track payload must be a map"))
			return
		}
	}
	f.push(phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
}

// refresh takes a token that the client pushed. It is never answered. The project's key, the URL's key and the token in use change
// nothing: clients push them without being asked.
func (f *front) refresh(c *frontChannel, m phoenix.Message) {
	push, _ := parseFields(m.Payload)
	key := f.server.classify(tokenField(push["access_token"]))
	switch key.kind {
	case frontKeyNone, frontKeyPublic:
		return
	case frontKeyService:
		f.server.warnOfServiceKey(f.from)
		f.failChannel(c, refuseServiceKey.text)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if key == f.key || key.credential == c.token || c.trying != nil || c.done || f.shut {
		return
	}
	ctx, cancel := f.server.workContext(f.server.base)
	c.trying = func() { cancel(context.Canceled) }
	f.writers.Add(1)
	go func() {
		defer f.writers.Done()
		defer cancel(nil)
		f.tryToken(ctx, c, key)
	}()
}

// tryToken proves a pushed token. One that is no good ends the channel, unless the URL's key is what the channel rests on: a page that
// slept pushes stale ones. One of another session makes the client join anew.
func (f *front) tryToken(ctx context.Context, c *frontChannel, key frontKey) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	g, err := f.server.authorize(ctx, f.from, key.asCredential(f.vouchFor(key)))
	f.mu.Lock()
	c.trying = nil
	onURL := c.token == f.key.credential
	same := err == nil && g.Visitor.SessionID == c.sub.Visitor().SessionID
	if same && !onURL {
		c.token = key.credential
	}
	f.mu.Unlock()
	switch {
	case same:
	case err == nil:
		f.restart(c)
	case isPassing(err) || onURL:
	default:
		ref, _ := errors.AsType[*chat.Refusal](err)
		f.server.logFrontRefusal(f, ref)
		f.failChannel(c, ref.Message)
	}
}

// restart makes the client join again with what it holds now.
func (f *front) restart(c *frontChannel) { f.dismiss(c, phoenix.ChannelError(c.joinRef, c.topic)) }

// broadcast passes on what a client sends to its channel.
func (f *front) broadcast(c *frontChannel, m phoenix.Message) {
	b, ok := pushedBroadcast(m)
	if !ok {
		return
	}
	if !f.broadcasts.take(f.server.opts.BroadcastsPerSecond, time.Now()) {
		f.server.metrics.limits.WithLabelValues(limitCasts).Inc()
		f.failChannel(c, "Too many messages per second")
		return
	}
	except := c
	if c.self {
		except = nil
	}
	f.server.front.rooms.send(c.room, b, except)
	if c.ack {
		f.push(phoenix.Reply(c.joinRef, m.Ref, c.topic, phoenix.StatusOK, nil))
	}
}
