package realtime

import (
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// joinFreeze is how long a refused join keeps the server from reading its socket.
const joinFreeze = 5 * time.Second

// heartbeat is the state of the heartbeats of one socket.
type heartbeat struct {
	due      time.Time   // of the next one
	ref      phoenix.Ref // of the one not answered yet, else null
	sentAt   time.Time
	deadline time.Time // for its answer
}

func (h *heartbeat) wake() time.Time {
	if !h.ref.IsNull() {
		return h.deadline
	}
	return h.due
}

// beat sends a heartbeat when it is due. Only its own answer counts: other traffic does not prove that the server reads.
func (s *conn) beat(now time.Time) error {
	h := &s.heart
	switch {
	case !h.ref.IsNull() && !now.Before(h.deadline):
		return ErrHeartbeatTimeout
	case !h.ref.IsNull() || now.Before(h.due):
		return nil
	}
	h.ref = s.nextRef()
	h.sentAt = now
	s.c.beatSent.Store(&now)
	h.due = now.Add(s.c.opts.Heartbeat)
	h.deadline = now.Add(s.c.opts.HeartbeatTimeout + joinFreeze*time.Duration(max(s.joining()-1, 0)))
	return s.send(phoenix.Message{Ref: h.ref, Topic: phoenix.TopicPhoenix, Event: phoenix.EventHeartbeat})
}

func (s *conn) onSocketReply(m phoenix.Message) {
	h := &s.heart
	if m.Event != phoenix.EventReply || h.ref.IsNull() || m.Ref != h.ref {
		return
	}
	s.c.rtt.Store(int64(time.Since(h.sentAt)))
	s.c.beatSent.Store(nil)
	h.ref = phoenix.Ref{}
}

// joining counts the joins without an answer.
func (s *conn) joining() int {
	n := 0
	for _, ch := range s.c.channels {
		if ch.state == StateJoining {
			n++
		}
	}
	return n
}
