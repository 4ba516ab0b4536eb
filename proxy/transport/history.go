package transport

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// historiesPerSecond is how often a session may have its history read, by new streams and polls without a cursor; twice as often at once.
// Each may read thousands of rows of a shared conversation.
const historiesPerSecond = 10

// history reads a visitor's history. Its errors are those of a Backfiller.
func (s *Server) history(ctx context.Context, a *chat.Attachment, n int) ([]*chat.Event, error) {
	if !s.histories.take(a.Subscriber.Visitor().SessionID, 1, historiesPerSecond, time.Now()) {
		return nil, s.limits.refuse(limitHistories, "too_many_reads", "The history is asked for too often", time.Second)
	}
	return s.opts.Backfiller.History(ctx, a, n)
}
