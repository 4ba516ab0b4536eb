package feed

import (
	"context"
	"slices"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// reconcileBatches bounds the queries of one reconciling round, of which quietBatches are kept for conversations that are not active.
	reconcileBatches = 5
	quietBatches     = 1
	activeFor        = time.Minute

	// wholeEvery is how often a conversation is read back as far as a catch-up would. The reads between ask for what changed since the
	// last one, and lookBack before that, which covers all but slow transactions.
	wholeEvery = 30 * time.Second
	lookBack   = 10 * time.Second
)

// reconcile reads the conversations that are worth a look while the channel is live.
func (f *Feed) reconcile(ctx context.Context) error {
	return f.catchUp(ctx, reconcilable(f.hub.Interests(), f.opts.Store.Now()), readReconcile)
}

// reconcilable chooses a round's conversations: the active ones first, the others with what is left of the budget but never with less than
// their share, each in turn of when they were last read.
func reconcilable(interests []chat.Interest, now time.Time) []chat.Interest {
	var active, quiet []chat.Interest
	for _, in := range interests {
		if now.Sub(in.Activity) < activeFor {
			active = append(active, in)
		} else {
			quiet = append(quiet, in)
		}
	}
	share := min(len(quiet), max(quietBatches*maxBatch, reconcileBatches*maxBatch-len(active)))
	round := stalest(active, reconcileBatches*maxBatch-share)
	return append(round, stalest(quiet, share)...)
}

// stalest returns up to n interests, those first that were read longest ago.
func stalest(interests []chat.Interest, n int) []chat.Interest {
	slices.SortStableFunc(interests, byLooked)
	return interests[:min(n, len(interests))]
}

func byLooked(a, b chat.Interest) int { return a.Looked.Compare(b.Looked) }
