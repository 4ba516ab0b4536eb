package chat

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// heldRow is a row that waits: for a reading of the conversation's scope, or for a read-back to go first.
type heldRow struct {
	row    *Row
	update bool
	stamp  uint64
	// only is the class that still lacks the row; nil means all.
	only *class
}

// conversation is one chat thread that somebody watches: its classes, and the rows that wait for a look-up.
type conversation struct {
	id  string
	hub *Hub

	mu      sync.Mutex
	dead    bool // taken out of the hub; attach again
	classes map[string]*class
	// stamp counts arrivals; a scope reading begun at stamp n may judge every row up to n.
	stamp      uint64
	scope      *Scope
	scopeStamp uint64
	scopeAsked bool
	holds      int
	held       []heldRow
	// gap says that held rows were dropped: only a read can bring them.
	gap bool
	// proved is the database's time up to which reads have shown every row.
	proved time.Time
	// looked is the same of the last read that showed what had changed since the one before, not earlier than proved.
	looked   time.Time
	activity time.Time
}

// publish takes a live row: at once where nothing waits and the rule can decide, else behind what waits.
func (c *conversation) publish(row *Row, update bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp++
	c.activity = c.hub.opts.Now()
	h := heldRow{row: row, update: update, stamp: c.stamp}
	if c.holds == 0 && len(c.held) == 0 && c.applyLocked(&h) {
		return
	}
	c.holdLocked(h)
}

// applyLocked gives the row to its classes, or to none and returns false when a class needs a newer scope.
func (c *conversation) applyLocked(h *heldRow) bool {
	scope := c.scope
	if h.stamp > c.scopeStamp {
		scope = nil
	}
	for _, cl := range c.classes {
		if h.only != nil && h.only != cl || cl.building {
			continue
		}
		if _, v := c.hub.opts.Rule.Judge(cl.visitor, h.row, scope); v == NeedsScope {
			c.askLocked()
			return false
		}
	}
	for _, cl := range c.classes {
		switch {
		case h.only != nil && h.only != cl:
		case cl.building:
			cl.miss(*h)
		default:
			m, v := c.hub.opts.Rule.Judge(cl.visitor, h.row, scope)
			cl.apply(h.row, sourceLive, h.update, m, v)
		}
	}
	return true
}

// delete takes a message back. A row that still waits is dropped, and stays known as gone: a read begun before may bring it.
func (c *conversation) delete(id string, committed time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := dropRow(&c.held, id)
	for _, cl := range c.classes {
		missed := dropRow(&cl.missed, id)
		if k, known := cl.known[id]; known {
			cl.remove(id, k, endOfTime, committed)
		} else if row := cmp.Or(waited, missed); row != nil {
			cl.known[id] = knownRow{
				created: row.CreatedAt.UnixMicro(), arrived: c.hub.opts.Now().UnixMicro(), updated: endOfTime, gone: true,
				hash: hashRow(id),
			}
		}
	}
}

// dropRow takes a row out of those that wait and returns it, or nil when it is not among them.
func dropRow(waiting *[]heldRow, id string) (found *Row) {
	*waiting = slices.DeleteFunc(*waiting, func(h heldRow) bool {
		if h.row.ID != id {
			return false
		}
		found = h.row
		return true
	})
	return found
}

// miss keeps a row for a class whose baseline is still being read.
func (c *class) miss(h heldRow) {
	if len(c.missed) >= c.hub.opts.MaxHeld {
		c.missed, c.overflow = nil, true
	}
	if !c.overflow {
		h.only = c
		c.missed = append(c.missed, h)
	}
}

func (c *conversation) askLocked() {
	if !c.scopeAsked {
		c.scopeAsked = true
		c.hub.opts.OnScopeNeeded(c.id)
	}
}

func (c *conversation) holdLocked(h heldRow) {
	if c.gap {
		return
	}
	if len(c.held) >= c.hub.opts.MaxHeld {
		c.held, c.gap = nil, true
		c.hub.metrics.overflow()
		c.hub.opts.OnGap(c.id)
		return
	}
	c.held = append(c.held, h)
}

// drainLocked lets held rows go in order until one needs a newer scope.
func (c *conversation) drainLocked() {
	for c.holds == 0 && len(c.held) > 0 {
		h := c.held[0]
		if !c.applyLocked(&h) {
			return
		}
		c.held[0] = heldRow{}
		c.held = c.held[1:]
	}
	if len(c.held) == 0 {
		c.held = nil
	}
}

// recoverLocked gives rows that were read back to every class, ahead of what is held. scope was read after the rows.
func (c *conversation) recoverLocked(rows []*Row, scope *Scope, found func(id string)) (news int) {
	for _, row := range rows {
		if c.hub.deleted(row) {
			continue
		}
		for _, cl := range c.classes {
			if _, known := cl.known[row.ID]; cl.building || !known && row.CreatedAt.UnixMicro() < cl.floor {
				continue
			}
			m, v := c.hub.opts.Rule.Judge(cl.visitor, row, scope)
			if v == NeedsScope {
				continue
			}
			before := cl.seq
			cl.apply(row, sourceRecovered, false, m, v)
			if cl.seq != before {
				c.activity = c.hub.opts.Now()
				news++
				if found != nil {
					found(row.ID)
				}
			}
		}
	}
	return news
}

// becomeReadyLocked ends the building of a class: what it missed goes ahead of what is held. It returns false when too much was
// missed meanwhile, and the baseline must be read again.
func (c *conversation) becomeReadyLocked(cl *class, rows []*Row, scope *Scope, floor, readAt time.Time) bool {
	if cl.overflow {
		cl.overflow = false
		return false
	}
	cl.baseline(rows, scope, floor, readAt)
	c.held = append(cl.missed, c.held...)
	cl.missed = nil
	c.drainLocked()
	return true
}

func (c *conversation) classFor(v *Visitor) (cl *class, created bool) {
	key := c.hub.classKey(v)
	cl, ok := c.classes[key]
	if !ok {
		cl = newClass(c.hub, key, v)
		c.classes[key] = cl
	}
	return cl, !ok
}
