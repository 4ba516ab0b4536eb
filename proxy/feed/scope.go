package feed

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxBatch is how many conversations one query names: a hundred uuids keep the URL well under every gateway's limit.
const maxBatch = 100

// scopeQueue holds the conversations whose held rows wait for a reading of who else uses them.
type scopeQueue = idSet

func newScopeQueue() *scopeQueue { return newIDSet() }

// refreshScopes reads scopes in batches, one batch at a time: rows that come meanwhile share the next one.
func (f *Feed) refreshScopes(ctx context.Context) {
	wait := backoff{min: 200 * time.Millisecond, max: 5 * time.Second, rand: f.opts.Realtime.Rand}
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.scope.ready:
		}
		ids := f.scope.take(maxBatch)
		stamps := make(map[string]uint64, len(ids))
		for _, id := range ids {
			stamps[id] = f.hub.BeginScope(id)
		}
		scopes, err := f.readScopes(ctx, ids)
		if err != nil {
			for _, id := range ids {
				f.scope.add(id)
			}
			if !sleep(ctx, wait.next()) {
				return
			}
			continue
		}
		wait.reset()
		for _, id := range ids {
			f.hub.SetScope(id, stamps[id], scopes[id])
		}
	}
}

// readScopes reads who uses the conversations: every id gets a Scope, an empty one where nobody does.
func (f *Feed) readScopes(ctx context.Context, ids []string) (map[string]*chat.Scope, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	sessions, err := f.opts.Store.SessionsOfConversations(ctx, ids)
	f.noteRead(err)
	if err != nil {
		return nil, err
	}
	scopes := make(map[string]*chat.Scope, len(ids))
	for _, id := range ids {
		scopes[id] = &chat.Scope{Anonymous: make(map[string]bool)}
	}
	var owners []string
	seen := make(map[string]bool)
	for _, s := range sessions {
		scope := scopes[s.ConversationID]
		if scope == nil {
			continue
		}
		scope.Sessions = append(scope.Sessions, chat.SessionRef{ID: s.ID, ConversationSessionID: s.ConversationSessionID})
		if id := s.ConversationSessionID; id != "" && !seen[id] {
			seen[id] = true
			owners = append(owners, id)
		}
	}
	if len(owners) == 0 {
		return scopes, nil
	}
	rows, err := f.opts.Store.ConversationSessions(ctx, owners)
	f.noteRead(err)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if scope := scopes[row.ConversationID]; scope != nil {
			scope.Anonymous[row.ID] = row.UserID == ""
		}
	}
	return scopes, nil
}
