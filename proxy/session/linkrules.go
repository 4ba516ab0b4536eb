package session

import (
	"context"
	"slices"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// LinkLists reads from where a link may be used: domains and addresses, nil where the link says nothing. They are empty too where the
// link does not exist or the links table cannot be read at all; other failures are a *chat.Refusal or ctx's error.
func (a *Authorizer) LinkLists(ctx context.Context, linkID string) (domains, addresses []string, err error) {
	link, _, err := a.links.get(ctx, linkID)
	switch {
	case unreadable(err):
		a.warned.links(a.log, err)
		return nil, nil, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case err != nil:
		return nil, nil, a.unavailable(err)
	}
	return link.AllowedDomains, link.AllowedIPs, nil
}

// differs tells whether an open stream has to be judged otherwise than before: what restricts it, or what of its conversation is in scope.
func differs(before, after *chat.Visitor) bool {
	return before.LinkKnown != after.LinkKnown || before.Shared != after.Shared ||
		before.ConversationSessionID != after.ConversationSessionID || before.MaxMessages != after.MaxMessages || before.RateLimitPerMinute != after.RateLimitPerMinute ||
		!slices.Equal(before.AllowedDomains, after.AllowedDomains) || !slices.Equal(before.AllowedIPs, after.AllowedIPs)
}

// compareLocked tells of what has become different since the streams of a tracked session were opened. Those of another conversation, or
// with another agent, end; their visitors come back.
func (a *Authorizer) compareLocked(rec *record, before, after *chat.Visitor, dbNow time.Time) {
	if before == nil {
		return
	}
	if differs(before, after) {
		a.changedLocked(rec)
	}
	if before.ConversationID != after.ConversationID || before.AgentID != after.AgentID {
		e := &Ending{SessionID: rec.id, EndedAt: dbNow, Why: chat.SessionChanged}
		a.metrics.ended(e)
		a.replaced = append(a.replaced, announcement{before, e})
		signal(a.wake)
	}
}

func (a *Authorizer) changedLocked(rec *record) {
	if !rec.listed {
		rec.listed = true
		a.changed = append(a.changed, rec)
	}
	signal(a.wake)
}

// announceChanges calls OnChange, outside the lock.
func (a *Authorizer) announceChanges() {
	for _, v := range a.takeChanged() {
		a.opts.OnChange(v)
	}
}

func (a *Authorizer) takeChanged() (visitors []*chat.Visitor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, rec := range a.changed {
		rec.listed = false
		if rec.refs > 0 && rec.over() == nil {
			visitors = append(visitors, rec.visitor)
		}
	}
	a.changed = nil
	return visitors
}
