package oracle_test

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// kinds are the faults of the stand-in that the simulation uses.
var kinds = []standin.Kind{
	standin.RefuseHandshake, standin.RefuseDial, standin.RefuseJoin, standin.DelayJoinReply, standin.NoSystemOK, standin.DelaySystemOK,
	standin.UnpublishedTable, standin.DeafChannels, standin.MuteHeartbeats, standin.StallSockets, standin.DuplicateChanges,
	standin.DropChanges, standin.DelayChanges, standin.RateLimit, standin.WrongFrameShape,
	standin.AbortHTTP, standin.SlowHTTP, standin.FailHTTP, standin.DatabaseDown,
}

// actions are the disturbances of our own.
var actions = []action{
	dropSockets, closeSockets, killNode, drainNode, partition, freeze, cutVisitor, closeVisitor, stallVisitor,
	endSession, dropSession, disableLink, dropLink,
}

// step makes one thing happen.
func (r *run) step(st step) {
	r.journal.note("step %+v", st)
	faults, struck := r.world.standin.Faults(), true
	switch st.Do {
	case setFault:
		faults.Set(standin.Fault{
			Kind: standin.Kind(st.Kind), Match: st.Match, Count: st.Count, For: st.For, Delay: st.Delay, Status: st.Status, Reason: st.Reason,
		})
		return // counted by what it does
	case dropSockets:
		struck = faults.DropSockets() > 0
	case closeSockets:
		struck = faults.CloseSockets(st.Status) > 0
	case killNode, drainNode, partition, freeze:
		r.nodeStep(st)
	case cutVisitor, closeVisitor, stallVisitor:
		struck = r.visitorStep(st)
	default:
		struck = r.ending(st)
	}
	if struck {
		r.fired[string(st.Do)]++
	}
}

func (r *run) nodeStep(st step) {
	n := r.nodes[st.Node]
	switch st.Do {
	case killNode:
		r.work.Go(func() { n.restart(n.kill, st.For) })
	case drainNode:
		r.work.Go(func() { n.restart(n.drain, st.For) })
	case partition:
		r.world.network.partition(n.name, supabaseHost, st.For)
	case freeze:
		r.world.network.freeze(n.name, supabaseHost, st.For)
	}
}

func (r *run) visitorStep(st step) bool {
	v := r.visitors[st.Visitor]
	ends := r.world.network.between(v.name, "")
	if st.Do != stallVisitor {
		v.stayAway(st.For)
	}
	for _, c := range ends {
		switch st.Do {
		case cutVisitor:
			c.cut()
		case closeVisitor:
			_ = c.Close() // never fails
		case stallVisitor:
			c.pause(st.For)
		}
	}
	return len(ends) > 0
}

// ending ends the session of the step, or all of its link.
func (r *run) ending(st step) bool {
	db, table := r.world.standin.DB(), standin.TableSessions
	link := r.world.links[st.Link].ID
	var err error
	var n int
	var hit []int
	switch st.Do {
	case endSession:
		n, err = db.Update(table, standin.Row{"id": r.world.parties[st.Session].ID, "status": "active"},
			standin.Row{"status": st.Reason, "ended_at": db.Now(), "end_reason": "completed"})
		hit = []int{st.Session}
	case dropSession:
		n, err = db.Delete(table, standin.Row{"id": r.world.parties[st.Session].ID})
		hit = []int{st.Session}
	default:
		table = standin.TableLinks
		if st.Do == disableLink {
			n, err = db.Update(table, standin.Row{"id": link, "is_active": true}, standin.Row{"is_active": false})
		} else {
			n, err = db.Delete(table, standin.Row{"id": link})
		}
		for i := range r.s.Sessions {
			if r.s.Sessions[i].Link == st.Link {
				hit = append(hit, i)
			}
		}
	}
	require.NoError(r.t, err)
	if n == 0 {
		return false
	}
	told := r.told(table)
	for _, i := range hit {
		if _, already := r.ends[i]; !already {
			r.ends[i] = ending{at: r.journal.now(), told: told}
		}
	}
	return true
}

// told reports whether changes of the table reach every node without delay now.
func (r *run) told(table string) bool {
	now := r.journal.now()
	if r.s.disturbed(now-time.Second, now+3*time.Second, 0) {
		return false
	}
	for _, n := range r.nodes {
		if len(n.up) == 0 {
			return false
		}
	}
	live := 0
	for _, sub := range r.world.standin.Subscriptions() {
		for i, b := range sub.Bindings {
			if i == 0 && b.Table == table && sub.Live && !sub.Deaf {
				live++
			}
		}
	}
	return live == len(r.nodes)
}

// endingTime is how long after a session's end its visitors may still be served.
func (r *run) endingTime(e ending) time.Duration {
	late := r.s.Upstream.PollInterval + 4*r.s.Upstream.Latency
	switch {
	case e.told:
		return time.Second + late
	case !r.s.disturbed(e.at, e.at+20*time.Second, 5*time.Second):
		return 16*time.Second + late // the reads of the sessions, every 15 s
	}
	return 80 * time.Second
}
