package oracle_test

import (
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// menu is one kind of disturbance of the upstream side: it adds its steps, beginning at the given time.
type menu func(g *generator, at time.Duration)

// faults plans a few disturbances of the upstream side, one after the other or at once. Two are chosen by the seed's number, so that each
// kind comes up often in any row of seeds.
func (g *generator) faults() {
	seed := int(g.s.Seed)
	chosen := []int{seed, 3 * seed / 2}
	for range 2 + g.IntN(6) {
		chosen = append(chosen, g.IntN(len(disturbances)))
	}
	for _, i := range chosen {
		at := g.seconds(6, g.s.Length.Seconds()-15)
		disturbances[i%len(disturbances)](g, at)
	}
	for i := range g.s.Steps {
		g.s.Steps[i].For = g.calmEnd(g.s.Steps[i].At, g.s.Steps[i].For)
	}
}

var disturbances = []menu{
	atJoin(standin.RefuseHandshake, 3, 25), atJoin(standin.RefuseDial, 3, 25), atJoin(standin.RefuseJoin, 3, 25),
	atJoin(standin.DelayJoinReply, 3, 20), atJoin(standin.NoSystemOK, 3, 40), atJoin(standin.DelaySystemOK, 3, 20),
	atJoin(standin.UnpublishedTable, 3, 25),
	fault(standin.DeafChannels, 0.001, 0.002), fault(standin.MuteHeartbeats, 15, 60), fault(standin.StallSockets, 3, 40),
	fault(standin.DuplicateChanges, 10, 45), fault(standin.DropChanges, 2, 30), fault(standin.DelayChanges, 5, 20),
	fault(standin.RateLimit, 5, 35), fault(standin.WrongFrameShape, 5, 30),
	fault(standin.AbortHTTP, 2, 30), fault(standin.SlowHTTP, 3, 30), fault(standin.FailHTTP, 2, 40),
	fault(standin.DatabaseDown, 2, 40),
	socketsCut(dropSockets), socketsCut(closeSockets),
	nodeHit(killNode, 0.5, 20), nodeHit(drainNode, 0.5, 10), nodeHit(partition, 2, 30), nodeHit(freeze, 2, 30),
}

func fault(k standin.Kind, low, high float64) menu {
	return func(g *generator, at time.Duration) {
		g.s.Steps = append(g.s.Steps, g.fault(k, at, g.seconds(low, high)))
	}
}

// atJoin sets a fault that shows when a channel joins, and makes them join.
func atJoin(k standin.Kind, low, high float64) menu {
	return func(g *generator, at time.Duration) {
		st := g.fault(k, at, g.seconds(low, high))
		g.s.Steps = append(g.s.Steps, st, step{At: at + g.seconds(0.001, 1), Do: dropSockets})
	}
}

func socketsCut(do action) menu {
	return func(g *generator, at time.Duration) {
		g.s.Steps = append(g.s.Steps, step{At: at, Do: do, Status: oneOf(g, 1000, 1001, 1011, 1012)})
	}
}

func nodeHit(do action, low, high float64) menu {
	return func(g *generator, at time.Duration) {
		g.s.Steps = append(g.s.Steps, step{At: at, Do: do, For: g.seconds(low, high), Node: g.IntN(len(g.s.Nodes))})
	}
}

func (g *generator) fault(k standin.Kind, at, length time.Duration) step {
	st := step{At: at, Do: setFault, Kind: string(k), For: length}
	switch k {
	case standin.RefuseHandshake:
		st.Status, st.Reason = oneOf(g, 429, 503, 401), "not now"
	case standin.RefuseJoin:
		st.Reason = oneOf(g, "ChannelRateLimitReached: Too many channels", "InitializingProjectConnection: Realtime is initializing", "Unauthorized: not now")
	case standin.DelayJoinReply:
		st.Delay = g.seconds(1, 8)
	case standin.DelaySystemOK:
		st.Delay = g.seconds(1, 10)
	case standin.DelayChanges:
		st.Delay = g.seconds(0.5, 10)
	case standin.UnpublishedTable:
		st.Match = oneOf(g, standin.TableMessages, standin.TableSessions, standin.TableLinks)
	case standin.SlowHTTP:
		st.Match, st.Delay = g.path(), g.seconds(0.05, 8)
	case standin.AbortHTTP:
		st.Match = g.path()
	case standin.FailHTTP:
		st.Match, st.Status = g.path(), oneOf(g, 500, 502, 503, 503, 429)
	}
	return st
}

func (g *generator) path() string {
	return oneOf(g, "/rest/v1/", "/rest/v1/", "/rest/v1/"+standin.TableMessages, "/rest/v1/"+standin.TableSessions,
		"/rest/v1/"+standin.TableConversationSessions, "/rest/v1/rpc/")
}
