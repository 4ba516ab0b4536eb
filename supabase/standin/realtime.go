package standin

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// realtime is the Realtime service. Locks are taken in the order DB.mu, realtime.mu, Server.mu or Faults.mu.
type realtime struct {
	s *Server

	mu       sync.Mutex
	sockets  map[*socket]struct{}
	channels []*channel // joined, in order of their joins
	members  map[topicKey][]*member
	stored   []*broadcast  // from the database, for replay
	changed  chan struct{} // closed and replaced when a socket or channel changes state

	// Guarded by DB.mu.
	delayed  []delayedChanges
	draining bool // a goroutine delivers delayed
}

// topicKey separates public and private channels of one name.
type topicKey struct {
	topic   string
	private bool
}

type delayedChanges struct {
	due     time.Time
	changes []change
}

func newRealtime(s *Server) *realtime {
	rt := &realtime{
		s: s, sockets: make(map[*socket]struct{}), members: make(map[topicKey][]*member), changed: make(chan struct{}),
	}
	s.db.sink = rt.commit
	s.faults.deafen = rt.deafen
	s.faults.dropSockets = rt.drop
	s.faults.closeSockets = rt.closeAll
	return rt
}

func (rt *realtime) notifyLocked() {
	close(rt.changed)
	rt.changed = make(chan struct{})
}

// deafen makes all live channels below a topic prefix deaf.
func (rt *realtime) deafen(prefix string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, c := range rt.channels {
		if c.live && strings.HasPrefix(c.topic, prefix) {
			c.deaf = true
		}
	}
	rt.notifyLocked()
}

func (rt *realtime) drop() int {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for s := range rt.sockets {
		s.kill()
	}
	return len(rt.sockets)
}

func (rt *realtime) closeAll(code int) int {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for s := range rt.sockets {
		s.enqueue(outbound{closeCode: code})
	}
	return len(rt.sockets)
}

// commit takes the changes of a transaction. DB.mu is held.
func (rt *realtime) commit(changes []change) {
	if _, down := rt.s.faults.fire(DatabaseDown, ""); down {
		return
	}
	var rows []change
	delay := rt.s.opts.PollInterval
	rt.mu.Lock()
	for i := range changes {
		if c := &changes[i]; c.send != nil {
			rt.sendLocked(c.send, c.at.UnixMilli())
		} else if rt.sends(c) {
			rows = append(rows, *c)
			if late, ok := rt.s.faults.fire(DelayChanges, c.table.def.Name); ok {
				delay = max(delay, rt.s.opts.PollInterval+late.Delay)
			}
		}
	}
	rt.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	if delay <= 0 && len(rt.delayed) == 0 {
		rt.deliver(rows)
		return
	}
	rt.delayed = append(rt.delayed, delayedChanges{due: time.Now().Add(delay), changes: rows})
	if !rt.draining && rt.s.enter() {
		rt.draining = true
		go rt.drain()
	}
}

// sends reports whether Realtime knows the table of a row change: that of the source, or a published one if there is no source.
func (rt *realtime) sends(c *change) bool {
	if rt.s.opts.Source != nil {
		return c.foreign()
	}
	return rt.s.db.publication[c.table.name()]
}

// drain delivers delayed changes in commit order and ends when there are none left or the server closes.
func (rt *realtime) drain() {
	defer rt.s.wg.Done()
	for {
		rt.s.db.mu.Lock()
		if len(rt.delayed) == 0 || rt.s.ctx.Err() != nil {
			rt.draining = false
			rt.s.db.mu.Unlock()
			return
		}
		wait := time.Until(rt.delayed[0].due)
		if wait <= 0 {
			rt.deliver(rt.delayed[0].changes)
			rt.delayed = rt.delayed[1:]
		}
		rt.s.db.mu.Unlock()
		if wait > 0 {
			rt.s.wait(wait)
		}
	}
}

// deliver sends changes to the live channels. DB.mu is held.
func (rt *realtime) deliver(changes []change) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for i := range changes {
		rt.deliverLocked(&changes[i])
	}
}

// delivery is one change on its way to one channel.
type delivery struct {
	channel  *channel
	bindings []*binding // matching, last one first, as the server lists their ids
	render   *rendering
}

func (rt *realtime) deliverLocked(c *change) {
	if c.kind != kindDelete && c.table.def.RLS && !c.foreign() && c.table.byKey(c.row) == nil {
		return // row level security looks at the current table: the row is gone already
	}
	deliveries := rt.deliveriesLocked(c)
	if len(deliveries) == 0 {
		return
	}
	faults := rt.s.faults
	if _, tripped := faults.fire(RateLimit, ""); tripped {
		return
	}
	if _, lost := faults.fire(DropChanges, c.table.def.Name); lost {
		return
	}
	copies := 1
	if _, twice := faults.fire(DuplicateChanges, c.table.def.Name); twice {
		copies = 2
	}
	for range copies {
		for _, d := range deliveries {
			if d.channel.deaf {
				faults.strike(DeafChannels)
				continue
			}
			d.send()
		}
	}
}

func (rt *realtime) deliveriesLocked(c *change) []delivery {
	var found []delivery
	renderings := make(map[string]*rendering)
	now := rt.s.db.clock()
	for _, ch := range rt.channels {
		if !ch.live {
			continue
		}
		role := ch.role
		r, ok := renderings[role]
		if !ok {
			rendered := c.render(role, rt.s.opts.MaxRecordBytes, rt.s.opts.ToastBytes)
			r = &rendered
			renderings[role] = r
		}
		if c.kind != kindDelete && !r.unfiltered() && !c.readable(role, now) {
			continue
		}
		if bindings := ch.matching(r); len(bindings) > 0 {
			found = append(found, delivery{channel: ch, bindings: bindings, render: r})
		}
	}
	return found
}

// send pushes one frame for each distinct column list of the matching bindings, the full one first.
func (d *delivery) send() {
	var lists [][]string
	for _, b := range d.bindings {
		if !slices.ContainsFunc(lists, func(l []string) bool { return slices.Equal(l, b.only) && (l == nil) == (b.only == nil) }) {
			lists = append(lists, b.only)
		}
	}
	slices.SortStableFunc(lists, func(a, b []string) int { return boolRank(a != nil) - boolRank(b != nil) })
	for _, only := range lists {
		var ids []string
		for _, b := range d.bindings {
			if slices.Equal(b.only, only) && (b.only == nil) == (only == nil) {
				ids = append(ids, strconv.Itoa(b.id))
			}
		}
		d.channel.pushChange(d.render, only, ids)
	}
}

func (c *channel) pushChange(r *rendering, only, ids []string) {
	m := phoenix.Message{Topic: c.topic, Event: phoenix.EventPostgresChanges}
	if c.config.legacy {
		m.Event, m.Payload = r.kind.String(), r.data(only)
	} else {
		m.Payload = append([]byte(`{"data":`), r.data(only)...)
		m.Payload = append(m.Payload, `,"ids":[`+strings.Join(ids, ",")+`]}`...)
	}
	version := c.socket.version
	if _, wrong := c.socket.rt.s.faults.fire(WrongFrameShape, c.topic); wrong {
		version = otherVersion(version)
	}
	c.socket.pushAs(version, m)
}

func otherVersion(v phoenix.Version) phoenix.Version {
	if v == phoenix.V1 {
		return phoenix.V2
	}
	return phoenix.V1
}
