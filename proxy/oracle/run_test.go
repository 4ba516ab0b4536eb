package oracle_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// run plays one scenario in a bubble.
type run struct {
	t        *testing.T
	s        *scenario
	journal  *journal
	world    *world
	ledger   *ledger
	nodes    []*node
	visitors []*visitor
	work     sync.WaitGroup // restarts of nodes

	ends    map[int]ending // by session
	drained time.Duration  // when the final drain began
	ended   time.Duration  // when the visitors were sent home
	fired   map[string]int
}

// ending is how a session ended.
type ending struct {
	at time.Duration
	// told says that every node had a live channel on the table at that time, and nothing was in its way.
	told bool
}

// play runs the scenario to its end and leaves what happened in the run.
func play(t *testing.T, s *scenario) *run {
	r := &run{t: t, s: s, ledger: newLedger(), ends: make(map[int]ending), fired: make(map[string]int)}
	r.world = newWorld(t, s)
	defer r.world.close()
	time.Sleep(2 * time.Second) // the changes that made the world are over when the nodes join
	r.journal = newJournal()
	rows, err := r.world.standin.DB().Rows(standin.TableMessages, nil)
	require.NoError(t, err)
	require.NoError(t, r.ledger.stock(rows))
	for i, plan := range s.Nodes {
		n := newNode(r.world, i, plan, r.journal)
		n.start()
		r.nodes = append(r.nodes, n)
	}
	ctx, leave := context.WithCancel(context.Background())
	var visiting sync.WaitGroup
	for i, plan := range s.Visitors {
		v := newVisitor(r.world, i, plan, r.nodes, r.journal)
		r.visitors = append(r.visitors, v)
		visiting.Go(func() { v.run(ctx) })
	}
	r.drive()
	r.settle()
	leave()
	for _, v := range r.visitors {
		r.world.network.takeDown(v.name)
	}
	visiting.Wait()
	for _, n := range r.nodes {
		n.drain()
	}
	return r
}

// happening is an entry of the timetable.
type happening struct {
	at time.Duration
	do func()
}

// drive makes everything happen at its time.
func (r *run) drive() {
	var table []happening
	for i := range r.s.Writes {
		plan := &r.s.Writes[i]
		var open *openWrite
		table = append(table,
			happening{plan.Begin, func() { open = r.begin(plan) }},
			happening{plan.Commit, func() { r.commit(open) }})
	}
	for _, st := range r.s.Steps {
		table = append(table, happening{st.At, func() { r.step(st) }})
	}
	slices.SortStableFunc(table, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	for _, h := range table {
		r.until(h.at)
		h.do()
	}
	r.until(r.s.Length)
}

func (r *run) until(at time.Duration) { time.Sleep(at - r.journal.now()) }

func (r *run) begin(plan *writePlan) *openWrite {
	o, err := r.world.begin(plan)
	require.NoError(r.t, err)
	return o
}

func (r *run) commit(o *openWrite) {
	require.NoError(r.t, r.ledger.commit(o, r.journal.now))
	for _, v := range o.wrote {
		r.journal.note("commit %s %s row %d session %d %s", o.tx.Start().Format("05.000000"), v.st.Op, v.st.Row, v.st.Session, v.st.Kind)
	}
}

// settle ends every disturbance, calls everybody back and waits until nothing is owed any more.
func (r *run) settle() {
	r.drained = r.journal.now()
	r.journal.note("final drain")
	for _, k := range kinds {
		if r.world.standin.Faults().Fired(k) > 0 {
			r.fired[string(k)]++
		}
	}
	r.world.standin.Faults().ClearAll()
	r.world.network.heal()
	r.work.Wait()
	for _, v := range r.visitors {
		v.stayAway(0)
	}
	for range 150 {
		time.Sleep(time.Second)
		if r.settled() {
			break
		}
	}
	time.Sleep(6 * time.Second) // for what should not come any more
	r.ended = r.journal.now()
}

// settled reports whether every visitor has what is owed in its last state, and those whose session is over know it.
func (r *run) settled() bool {
	for _, v := range r.visitors {
		if end, ended := r.ends[v.plan.Session]; ended {
			if r.journal.now() < end.at+r.endingTime(end) && !v.isOver() {
				return false
			}
		} else if t := newTrial(r, v); len(t.lost()) > 0 || len(t.stale()) > 0 {
			return false
		}
	}
	return true
}
