package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// join sends phx_join. The server answers joins in order and refuses each only after joinFreeze, so the time allowed grows
// with the joins ahead.
func (s *conn) join(ch *channel, now time.Time) error {
	ahead := time.Duration(s.joining())
	ch.joinRef = s.nextRef()
	ch.lastWords = ""
	ch.retryAt = time.Time{}
	ch.deadline = now.Add(s.c.opts.JoinTimeout + ahead*joinFreeze)
	s.c.report(ch, StateJoining, nil)
	return s.send(phoenix.Message{
		JoinRef: ch.joinRef, Ref: ch.joinRef, Topic: ch.spec.Topic, Event: phoenix.EventJoin, Payload: ch.joinPayload,
	})
}

func (s *conn) leave(ch *channel) error {
	return s.send(phoenix.Message{JoinRef: ch.joinRef, Ref: s.nextRef(), Topic: ch.spec.Topic, Event: phoenix.EventLeave})
}

// abandon leaves the current join and fails the channel.
func (s *conn) abandon(ch *channel, err error, now time.Time) error {
	if err := s.leave(ch); err != nil {
		return err
	}
	s.fail(ch, err, now)
	return nil
}

// fail ends the current join, whose later messages are ignored, and plans the next.
func (s *conn) fail(ch *channel, err error, now time.Time) {
	s.markStable(now)
	if !ch.liveSince.IsZero() && now.Sub(ch.liveSince) >= stableAfter {
		ch.backoff.reset()
	}
	ch.joinRef, ch.deadline, ch.liveSince = phoenix.Ref{}, time.Time{}, time.Time{}
	if ch.spec.Optional && final(err) {
		ch.retryAt = time.Time{}
		s.c.log.Warn("optional channel refused", "topic", ch.spec.Topic, "err", err)
	} else {
		wait := s.retryIn(ch, err)
		ch.retryAt = now.Add(wait)
		s.c.log.Warn("channel failed", "topic", ch.spec.Topic, "err", err, "retry_in", wait)
	}
	s.c.report(ch, StateErrored, err)
	if !s.anyLive() {
		s.liveSince = time.Time{}
	}
}

// final reports whether an optional channel is given up for it.
func final(err error) bool {
	_, join := errors.AsType[*JoinError](err)
	return join || IsConfiguration(err)
}

func (s *conn) retryIn(ch *channel, err error) time.Duration {
	_, bindings := errors.AsType[*SubscribeError](err)
	switch configuration := IsConfiguration(err); {
	case configuration && bindings:
		return s.c.opts.UnpublishedRetry
	case configuration:
		return slow(s.c.opts.Rand)
	default:
		return ch.backoff.next()
	}
}

// expire acts on the deadline of a channel, or on its time to join again.
func (s *conn) expire(ch *channel, now time.Time) error {
	switch ch.state {
	case StateErrored:
		return s.join(ch, now)
	case StateJoining:
		return s.abandon(ch, fmt.Errorf("join %s: %w", ch.spec.Topic, ErrJoinTimeout), now)
	default:
		return s.abandon(ch, fmt.Errorf("join %s: %w", ch.spec.Topic, ErrLiveTimeout), now)
	}
}

func (s *conn) onReply(ch *channel, m phoenix.Message, now time.Time) error {
	if ch.state != StateJoining || m.Ref != ch.joinRef {
		return nil
	}
	var reply struct {
		Status   string
		Response struct{ Reason string }
	}
	if err := json.Unmarshal(m.Payload, &reply); err != nil && reply.Status == "" {
		return s.abandon(ch, fmt.Errorf("join %s: reply: %w", ch.spec.Topic, err), now)
	}
	if reply.Status != phoenix.StatusOK {
		s.fail(ch, newJoinError(ch.spec.Topic, reply.Response.Reason), now)
		return nil
	}
	ch.deadline = time.Time{}
	s.c.report(ch, StateJoined, nil)
	if len(ch.spec.Bindings) == 0 {
		s.live(ch, now)
		return nil
	}
	ch.deadline = now.Add(s.c.opts.LiveTimeout)
	return nil
}

// live reports the channel live, again if it was live already.
func (s *conn) live(ch *channel, now time.Time) {
	ch.deadline = time.Time{}
	if ch.liveSince.IsZero() {
		ch.liveSince = now
	}
	if s.liveSince.IsZero() {
		s.liveSince = now
	}
	s.c.log.Info("channel live", "topic", ch.spec.Topic)
	s.c.report(ch, StateLive, nil)
}

func (s *conn) anyLive() bool {
	for _, ch := range s.c.channels {
		if ch.state == StateLive {
			return true
		}
	}
	return false
}

func (s *conn) markStable(now time.Time) {
	if !s.liveSince.IsZero() && now.Sub(s.liveSince) >= stableAfter {
		s.stable = true
	}
}
