package main_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// soakFault is one kind of disturbance.
type soakFault struct {
	kind   string
	single bool          // hits one node, the one with most visitors
	silent bool          // no frame and no error tells of it: only rows that do not come do; it lasts until it is noticed
	blind  bool          // sessions cannot be read meanwhile
	sign   string        // the beginning of the log line that shows that it was noticed; empty is any
	hold   time.Duration // how long it lasts at least, in the first round of a run of standard length
	begin  func(d *soakDriver, n *soakNode)
	end    func(d *soakDriver, n *soakNode)
}

// noticeWithin bounds how long a silent fault lasts.
const noticeWithin = 20 * time.Second

func soakFaults() []soakFault {
	drop := func(d *soakDriver, _ *soakNode) { d.w.standin.Faults().DropSockets() }
	return []soakFault{
		{kind: "sockets dropped", hold: 0, begin: drop},
		{kind: "Realtime restarted", hold: 2 * time.Second, begin: func(d *soakDriver, _ *soakNode) {
			d.set(standin.Fault{Kind: standin.RefuseDial})
			d.w.standin.Faults().CloseSockets(1012)
		}, end: clearing(standin.RefuseDial)},
		{kind: "deaf channels", silent: true, sign: "the messages channel", hold: 2 * time.Second, begin: setting(standin.DeafChannels)},
		{kind: "joined, never subscribed", hold: 2 * time.Second, begin: func(d *soakDriver, n *soakNode) {
			d.set(standin.Fault{Kind: standin.NoSystemOK})
			drop(d, n)
		}, end: func(d *soakDriver, n *soakNode) {
			d.w.standin.Faults().Clear(standin.NoSystemOK)
			drop(d, n)
		}},
		{kind: "changes lost", silent: true, sign: "the messages channel", hold: 2 * time.Second, begin: setting(standin.DropChanges), end: clearing(standin.DropChanges)},
		{kind: "event limit tripped", silent: true, sign: "the messages channel", hold: 2 * time.Second, begin: setting(standin.RateLimit), end: clearing(standin.RateLimit)},
		{kind: "node cut off from Supabase", single: true, blind: true, hold: 2 * time.Second,
			begin: func(_ *soakDriver, n *soakNode) { n.line.partition() }, end: func(_ *soakDriver, n *soakNode) { n.line.mend() }},
		{kind: "traffic to Supabase stalled", single: true, blind: true, hold: 2 * time.Second,
			begin: func(_ *soakDriver, n *soakNode) { n.line.stall() }, end: func(_ *soakDriver, n *soakNode) { n.line.release() }},
		{kind: "database down", blind: true, hold: 3 * time.Second, begin: setting(standin.DatabaseDown), end: clearing(standin.DatabaseDown)},
		{kind: "PostgREST fails", blind: true, hold: 3 * time.Second, begin: func(d *soakDriver, _ *soakNode) {
			d.set(standin.Fault{Kind: standin.FailHTTP, Match: "/rest/v1/", Status: http.StatusBadGateway})
		}, end: clearing(standin.FailHTTP)},
		{kind: "node killed", single: true, hold: time.Second,
			begin: func(_ *soakDriver, n *soakNode) { n.kill() }, end: func(_ *soakDriver, n *soakNode) { n.start() }},
		{kind: "node drained", single: true, hold: 0,
			begin: func(_ *soakDriver, n *soakNode) { n.child.stop() }, end: func(_ *soakDriver, n *soakNode) { n.start() }},
		{kind: "control tables unpublished", sign: "table is not published", hold: 2 * time.Second, begin: func(d *soakDriver, n *soakNode) {
			d.set(standin.Fault{Kind: standin.UnpublishedTable, Match: "temporary_chat_"})
			drop(d, n)
		}, end: func(d *soakDriver, _ *soakNode) {
			d.endSession("control tables unpublished")
			d.w.standin.Faults().Clear(standin.UnpublishedTable)
		}},
	}
}

func setting(k standin.Kind) func(*soakDriver, *soakNode) {
	return func(d *soakDriver, _ *soakNode) { d.set(standin.Fault{Kind: k}) }
}

func clearing(k standin.Kind) func(*soakDriver, *soakNode) {
	return func(d *soakDriver, _ *soakNode) { d.w.standin.Faults().Clear(k) }
}

// phase is one fault of the run, from its beginning to that of the next.
type phase struct {
	fault        *soakFault
	node         int // of a single fault
	began, ended time.Time
	until        time.Time
}

// hits reports whether the fault concerns a node.
func (p *phase) hits(node int) bool { return !p.fault.single || p.node == node }

// calm is the time before the first fault.
var calm = soakFault{kind: "none"}

// soakDriver makes the faults happen, one after the other.
type soakDriver struct {
	w      *soakWorld
	random *rand.Rand
	phases []phase
	next   int // session to be ended
}

func (d *soakDriver) set(f standin.Fault) { d.w.standin.Faults().Set(f) }

// endSession ends the next session.
func (d *soakDriver) endSession(cause string) {
	if d.next < len(d.w.sessions)/2 { // enough must be left
		require.NoError(d.w.t, d.w.end(d.next, cause))
		d.next++
	}
}

// drive plays rounds of all faults in random order for about that long; the first round is whole.
func (d *soakDriver) drive(ctx context.Context, length time.Duration) {
	d.rest(ctx)
	began, faults := time.Now(), soakFaults()
	scale := func() float64 { return min(1, length.Minutes()) }
	for {
		round := time.Now()
		for _, i := range d.random.Perm(len(faults)) {
			d.play(ctx, &faults[i], scale())
		}
		scale = func() float64 { r := d.random.Float64(); return 0.5 + 4*r*r } // short ones mostly
		if time.Since(began)+time.Since(round)/2 > length {
			return
		}
	}
}

// rest is a while without faults. A session ends in it.
func (d *soakDriver) rest(ctx context.Context) {
	p := phase{fault: &calm, began: time.Now()}
	pause(ctx, 2*time.Second)
	d.endSession(calm.kind)
	pause(ctx, 2*time.Second)
	p.ended, p.until = time.Now(), time.Now()
	d.phases = append(d.phases, p)
}

func (d *soakDriver) play(ctx context.Context, f *soakFault, scale float64) {
	n := d.w.busiest()
	p := phase{fault: f, node: n.index, began: time.Now()}
	f.begin(d, n)
	pause(ctx, time.Duration(float64(f.hold)*scale))
	if f.silent || f.sign != "" {
		until(ctx, noticeWithin, func() bool { return d.noticed(&p) })
	}
	if f.end != nil {
		f.end(d, n)
	}
	p.ended = time.Now()
	healed := func() bool { return until(ctx, 150*time.Second, d.w.healthy) }
	require.True(d.w.t, healed(), "not healed from: %s", f.kind)
	tail := 500 * time.Millisecond // what is still on its way belongs to this fault
	if f.silent {
		tail = 4 * time.Second // and so does what the next reads find
	}
	pause(ctx, tail)
	require.True(d.w.t, healed(), "not healed from: %s", f.kind)
	p.until = time.Now()
	d.phases = append(d.phases, p)
}

// noticed reports whether every node that the fault hits has noticed it.
func (d *soakDriver) noticed(p *phase) bool {
	for _, n := range d.w.nodes {
		if _, ok := n.noticed(p.began, time.Now(), p.fault.sign); p.hits(n.index) && !ok {
			return false
		}
	}
	return true
}

// blindness reports whether sessions could not be read at some moment between two times, or shortly before.
func (d *soakDriver) blindness(from, to time.Time) bool {
	for i := range d.phases {
		p := &d.phases[i]
		if p.fault.blind && p.began.Before(to) && p.until.After(from) {
			return true
		}
	}
	return false
}
