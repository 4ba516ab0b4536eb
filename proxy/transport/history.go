package transport

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// historiesPerSecond is how often a session may have the table read for it, by new streams and channels and by polls; twice as often at
	// once. Each reading may be of thousands of rows of a shared conversation.
	historiesPerSecond = 10
	// maxReadWait is how long those wait who come back with a cursor: they may be many, as the channels of a socket are, or go on at once.
	maxReadWait = 10 * time.Second
)

// history reads a visitor's history. Its errors are those of a Backfiller.
func (s *Server) history(ctx context.Context, a *chat.Attachment, n int) ([]*chat.Event, error) {
	if !s.histories.take(a.Subscriber.Visitor().SessionID, 1, historiesPerSecond, time.Now()) {
		return nil, s.refuseReading()
	}
	return s.opts.Backfiller.History(ctx, a, n)
}

// deliver hands write what a visitor lacks. From a cursor that the window does not cover, that is a reading too, which waits for its time.
// Its errors are those of a Backfiller.
func (s *Server) deliver(ctx context.Context, a *chat.Attachment, write func([]*chat.Event) error) error {
	if _, read := a.Resume(); read {
		wait, ok := s.histories.reserve(a.Subscriber.Visitor().SessionID, historiesPerSecond, maxReadWait, time.Now())
		if !ok {
			return s.refuseReading()
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
	return s.opts.Backfiller.Deliver(ctx, a, write)
}

func (s *Server) refuseReading() *chat.Refusal {
	return s.limits.refuse(limitHistories, "too_many_reads", "The history is asked for too often", time.Second)
}
