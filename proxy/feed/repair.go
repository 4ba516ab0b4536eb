package feed

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	maxRepairs  = 256
	repairTries = 4
)

// repair is a row that came without what the rule needs. Its conversation is held until it has been read.
type repair struct {
	id, conversationID string
	release            func()
}

// repair holds the conversation and queues the row. It is called by the socket's goroutine and does not wait: when too many are
// queued, the conversation is read back as a whole instead.
func (f *Feed) repair(row *chat.Row) {
	f.metrics.repair()
	release := f.hub.Hold([]string{row.ConversationID})
	select {
	case f.repairs <- repair{row.ID, row.ConversationID, release}:
	default:
		release()
		f.gaps.add(row.ConversationID)
	}
}

// repairRows reads incomplete rows by id, with a column list that leaves the large private columns where they are.
func (f *Feed) repairRows(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-f.repairs:
			batch := []repair{first}
			for len(batch) < maxBatch && len(f.repairs) > 0 {
				batch = append(batch, <-f.repairs)
			}
			f.repairBatch(ctx, batch)
		}
	}
}

func (f *Feed) repairBatch(ctx context.Context, batch []repair) {
	ids := make([]string, len(batch))
	for i, r := range batch {
		ids[i] = r.id
		defer r.release()
	}
	if f.tryRepair(ctx, ids) {
		return
	}
	for _, r := range batch {
		f.gaps.add(r.conversationID)
	}
}

func (f *Feed) tryRepair(ctx context.Context, ids []string) bool {
	wait := backoff{min: 100 * time.Millisecond, max: 2 * time.Second, rand: f.opts.Realtime.Rand}
	for range repairTries {
		raw, err := f.opts.Store.MessagesByID(ctx, ids)
		f.noteRead(err)
		if err == nil {
			err = f.recoverByID(ctx, raw)
		}
		if err == nil {
			return true
		}
		if !sleep(ctx, wait.next()) {
			return false
		}
	}
	return false
}
