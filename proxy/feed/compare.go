package feed

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxCompared bounds the shown rows of a conversation that are compared after a gap, maxComparedAll those of one catch-up.
	maxCompared    = 500
	maxComparedAll = 20_000
)

// comparison collects rows that visitors who are present have been shown, or would be in a moment, and that a catch-up did not read: they
// may have changed or gone in the gap. Safe for concurrent use.
type comparison struct {
	mu     sync.Mutex
	owners map[string]string // conversation by row id
	cut    bool              // there are more than may be compared
}

func newComparison() *comparison { return &comparison{owners: make(map[string]string)} }

// knownIn returns what the visitors of the conversations have been shown when a catch-up begins: conversation by row id. What comes live
// after that is not in doubt.
func knownIn(hub *chat.Hub, interests []chat.Interest) map[string]string {
	known := make(map[string]string)
	for _, in := range interests {
		if in.Subscribers == 0 {
			continue
		}
		for _, id := range hub.Known(in.ConversationID, maxCompared) {
			known[id] = in.ConversationID
		}
	}
	return known
}

// add takes rows, conversation by row id, that are to be compared.
func (c *comparison) add(known map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, conversation := range known {
		if len(c.owners) == maxComparedAll {
			c.cut = true
			return
		}
		c.owners[id] = conversation
	}
}

// compare reads the rows by id, recovers those that changed and takes back those that are gone. Nothing waits for it: an update
// that came live meanwhile is newer, and a deleted row does not come back.
func (f *Feed) compare(ctx context.Context, c *comparison) error {
	if c.cut {
		f.log.Warn("more messages are shown than are compared after a gap", "compared", maxComparedAll)
	}
	ids := make([]string, 0, len(c.owners))
	for id := range c.owners {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readersAtOnce)
	for batch := range slices.Chunk(ids, maxBatch) {
		g.Go(func() error { return f.compareBatch(ctx, batch, c.owners) })
	}
	return g.Wait()
}

func (f *Feed) compareBatch(ctx context.Context, ids []string, owners map[string]string) error {
	raw, err := f.opts.Store.MessagesByID(ctx, ids)
	f.noteRead(err)
	if err != nil {
		return err
	}
	for _, id := range gone(ids, owners, raw) {
		f.hub.Delete(id)
	}
	return f.recoverByID(ctx, raw)
}

// gone returns the ids that the answer lacks, or shows in another conversation. A row that cannot be read as a message is not gone.
func gone(ids []string, owners map[string]string, raw []json.RawMessage) []string {
	there := make(map[string]bool, len(raw))
	for _, r := range raw {
		id, _ := chat.ScanString(r, "id")
		conversation, _ := chat.ScanString(r, "conversation_id")
		there[id] = conversation == owners[id]
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return there[id] })
}

// recoverByID gives rows of any conversations to the hub.
func (f *Feed) recoverByID(ctx context.Context, raw []json.RawMessage) error {
	r := &reading{rows: make(map[string][]*chat.Row)}
	var conversations []string
	for _, row := range f.decode(raw) {
		if _, ok := r.rows[row.ConversationID]; !ok {
			conversations = append(conversations, row.ConversationID)
		}
		r.rows[row.ConversationID] = append(r.rows[row.ConversationID], row)
	}
	return f.recoverRows(ctx, conversations, r, readCatchUp)
}
