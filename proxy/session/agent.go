package session

import (
	"context"
	"time"
)

// nameLife is how long an agent's name is taken as known.
const nameLife = 10 * time.Minute

type nameEntry struct {
	name  string
	until time.Time
}

// nameAgent completes a reading with the agent's name, which a row of the link does not tell. A name that cannot be read is no
// reason to refuse anybody: it stays empty for a while.
func (a *Authorizer) nameAgent(ctx context.Context, r *reading) {
	if r.rpc != nil && r.rpc.AgentName != "" {
		return
	}
	id := ""
	switch {
	case r.link != nil && r.link.AgentID != "":
		id = r.link.AgentID
	case r.rpc != nil:
		id = r.rpc.AgentID
	}
	if id == "" {
		return
	}
	a.mu.Lock()
	entry, ok := a.names.get(id)
	a.mu.Unlock()
	if ok && time.Now().Before(entry.until) {
		r.agentName = entry.name
		return
	}
	waitCtx, cancel := context.WithTimeout(ctx, fallbackAfter)
	defer cancel()
	name, _, err := a.agents.get(waitCtx, id)
	life := nameLife
	switch {
	case ctx.Err() != nil:
		return // tells nothing of the table
	case err != nil:
		name, life = entry.name, a.opts.CacheNegative
		a.log.Debug("agent name unknown", "err", err)
	}
	a.mu.Lock()
	a.names.put(id, nameEntry{name: name, until: time.Now().Add(life)})
	a.mu.Unlock()
	r.agentName = name
}
