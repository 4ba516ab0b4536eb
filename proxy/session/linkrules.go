package session

import (
	"context"
	"slices"

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

// linkDiffers tells whether a link restricts its sessions otherwise than before.
func linkDiffers(before, after *chat.Visitor) bool {
	if before == after || before == nil || after == nil {
		return false
	}
	return before.MaxMessages != after.MaxMessages || before.RateLimitPerMinute != after.RateLimitPerMinute ||
		!slices.Equal(before.AllowedDomains, after.AllowedDomains) || !slices.Equal(before.AllowedIPs, after.AllowedIPs)
}

func (a *Authorizer) linkChangedLocked(rec *record) {
	if !rec.linked {
		rec.linked = true
		a.changed = append(a.changed, rec)
	}
	signal(a.wake)
}

// announceLinks calls OnLinkChange, outside the lock.
func (a *Authorizer) announceLinks() {
	for _, v := range a.takeChanged() {
		a.opts.OnLinkChange(v)
	}
}

func (a *Authorizer) takeChanged() (visitors []*chat.Visitor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, rec := range a.changed {
		rec.linked = false
		if rec.refs > 0 && rec.over() == nil {
			visitors = append(visitors, rec.visitor)
		}
	}
	a.changed = nil
	return visitors
}
