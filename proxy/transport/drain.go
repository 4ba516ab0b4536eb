package transport

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// isDraining reports whether no new stream may begin.
func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

func (s *Server) refuseDraining() *chat.Refusal {
	ref := chat.RefuseUnavailable(s.retryIn(s.opts.Retry), nil)
	ref.Code, ref.Message, ref.Disconnect = chat.Restart.Code, chat.Restart.Message, chat.Restart
	return ref
}

// Drain refuses new streams, ends those that are open one after the other over DrainPeriod, each with a hint when to come back, and
// waits for sends that are being answered, at most DrainMax. It returns when all are gone or ctx ends.
func (s *Server) Drain(ctx context.Context) {
	begun := time.Now()
	s.mu.Lock()
	if s.drained {
		s.mu.Unlock()
		return
	}
	s.drained = true
	close(s.draining)
	open := s.streamsLocked()
	s.mu.Unlock()
	s.opts.Hub.EachSubscriber(func(sub *chat.Subscriber) {
		if sub.Dialect() == chat.DialectPoll {
			sub.End(chat.Restart, nil)
		}
	})
	for i, st := range open {
		if !pause(ctx, time.Until(begun.Add(s.opts.DrainPeriod*time.Duration(i)/time.Duration(len(open))))) {
			return
		}
		last := s.reconnectControl(chat.Restart)
		st.end(chat.Restart, &last)
	}
	s.awaitSilence(ctx, begun.Add(s.opts.DrainMax))
}

// awaitSilence waits for the last stream, and until the given time for the last send.
func (s *Server) awaitSilence(ctx context.Context, patience time.Time) {
	late := time.NewTimer(time.Until(patience))
	defer late.Stop()
	waitForSends := true
	for {
		s.mu.Lock()
		silent := len(s.streams) == 0 && (s.sending == 0 || !waitForSends)
		s.mu.Unlock()
		if silent {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-late.C:
			waitForSends = false
		}
	}
}

// pause returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
