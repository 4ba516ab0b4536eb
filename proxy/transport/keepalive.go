package transport

import (
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// nextStep is the shortest wait that a timer can have: the wheel's next step.
const nextStep = time.Nanosecond

// pinger asks the peer for a sign of life. ping reports whether a flush is needed for it.
type pinger interface{ ping() bool }

// tick is called by the wheel: at every step while the stream catches up, then whenever a sign of life may be due.
func (st *stream) tick(now time.Time) time.Duration {
	age := now.Sub(st.opened)
	switch why := st.sub.Ended(); {
	case why != nil && st.live.Load():
		return 0
	case why != nil:
		st.end(why, nil) // whoever catches up may be waiting for a read
		return nextStep
	case age >= st.maxAge:
		last := st.server.reconnectControl(chat.MaxAge)
		st.end(chat.MaxAge, &last)
		return nextStep
	case !st.live.Load():
		return nextStep
	}
	return min(st.signOfLife(age), st.maxAge-age)
}

// signOfLife pushes a heartbeat when nothing was written for keepAlive, and a ping every keepAlive whatever was written, because
// only its answer shows that the peer lives. It returns when to call again.
func (st *stream) signOfLife(age time.Duration) time.Duration {
	next := st.keepAlive - (age - time.Duration(st.lastWrite.Load()))
	if next <= 0 {
		st.sub.PushControl(st.server.control(chat.Control{Type: "heartbeat"}))
		next = st.keepAlive
	}
	if st.pinger == nil {
		return next
	}
	if age >= st.nextPing {
		st.nextPing = age + st.keepAlive
		if st.pinger.ping() {
			st.sub.Push(nil)
		}
	}
	return min(next, st.nextPing-age)
}
