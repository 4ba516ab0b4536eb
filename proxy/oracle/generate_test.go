package oracle_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// generator makes a scenario from a seed.
type generator struct {
	*rand.Rand
	s    *scenario
	rows int
	// fates holds for each row when the transaction that inserted it commits; a row is changed once at most, and only later.
	fates []fate
	// calm scenarios have no other fault than lost sockets, so that what a catch-up does is plain to see.
	calm bool
}

type fate struct {
	row       statement
	committed time.Duration
	changed   bool
}

func generate(seed uint64) *scenario {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), s: &scenario{Seed: seed}}
	g.calm = g.chance(0.15)
	g.s.Length = g.seconds(60, 150)
	g.upstream()
	g.nodes()
	g.people()
	g.writes()
	if g.calm {
		g.losses()
	} else {
		g.faults()
	}
	g.drops()
	g.endings()
	slices.SortStableFunc(g.s.Steps, func(a, b step) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(g.s.Writes, func(a, b writePlan) int { return cmp.Compare(a.Begin, b.Begin) })
	return g.s
}

// seconds is a time between two numbers of seconds, in microseconds, so that hardly two things happen at once.
func (g *generator) seconds(low, high float64) time.Duration {
	return time.Duration((low + g.Float64()*(high-low)) * float64(time.Second)).Truncate(time.Microsecond)
}

func (g *generator) chance(p float64) bool { return g.Float64() < p }

func oneOf[T any](g *generator, values ...T) T { return values[g.IntN(len(values))] }

func (g *generator) upstream() {
	g.s.Upstream = upstreamPlan{
		Skew:           g.seconds(-30, 30),
		PollInterval:   oneOf(g, 0, 20*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond),
		SubscribeDelay: oneOf(g, 0, 5*time.Millisecond, 2*time.Second),
		JoinBackoff:    oneOf(g, 0, 5*time.Second),
		Latency:        oneOf(g, 2*time.Millisecond, 20*time.Millisecond, 80*time.Millisecond),
	}
	if g.calm { // rows come live while those before them are read back
		g.s.Upstream.PollInterval, g.s.Upstream.Latency = oneOf(g, 0, 20*time.Millisecond), 80*time.Millisecond
		g.s.Upstream.SubscribeDelay, g.s.Upstream.JoinBackoff = oneOf(g, 0, 0, 5*time.Second), 0
	}
}

func (g *generator) nodes() {
	for range 1 + g.IntN(2) {
		g.s.Nodes = append(g.s.Nodes, nodePlan{
			Version:      1 + g.IntN(2),
			StreamMaxAge: oneOf(g, 0, 0, 45*time.Second),
			SocketMaxAge: oneOf(g, 0, 0, 40*time.Second),
			WindowEvents: oneOf(g, 0, 0, 8),
			Heartbeat:    oneOf(g, 0, 5*time.Second, 10*time.Second),
			Overlap:      oneOf(g, 0, 125*time.Second),
		})
		if g.calm {
			g.s.Nodes[len(g.s.Nodes)-1].SocketMaxAge = 0
		}
	}
}

func (g *generator) people() {
	for i := range 2 + g.IntN(4) {
		g.s.Sessions = append(g.s.Sessions, sessionPlan{Link: g.IntN(links)})
		for range 1 + g.IntN(3) {
			g.s.Visitors = append(g.s.Visitors, g.visitor(i))
		}
	}
}

func (g *generator) visitor(session int) visitorPlan {
	v := visitorPlan{
		Session: session, Start: g.seconds(0, 5),
		PollWait: oneOf(g, 0, 5, 25), PollEvery: g.seconds(0.2, 4),
	}
	if g.chance(0.2) {
		v.Start = g.seconds(5, g.s.Length.Seconds()/2)
	}
	one := oneOf(g, "sse", "sse", "envelope", "websocket", "websocket", "poll")
	changes := g.chance(0.3)
	for range 4 {
		if changes {
			one = oneOf(g, "sse", "envelope", "websocket", "poll")
		}
		v.Transports = append(v.Transports, one)
	}
	for range 5 {
		v.Nodes = append(v.Nodes, g.IntN(len(g.s.Nodes)))
		v.Waits = append(v.Waits, g.seconds(0.05, 3))
	}
	return v
}

// writes makes one stream of transactions for each writer.
func (g *generator) writes() {
	for range 2 + g.IntN(3) {
		at, pace := g.seconds(1, 8), g.seconds(1, 8)
		for at < g.s.Length {
			g.transaction(at)
			at += time.Duration(g.ExpFloat64() * float64(pace)).Truncate(time.Microsecond)
		}
	}
	for range g.IntN(3) { // a burst
		at := g.seconds(5, g.s.Length.Seconds())
		for range 5 + g.IntN(15) {
			at += g.seconds(0, 0.1)
			g.transaction(at)
		}
	}
}

// losses cuts all sockets a few times. Rows come one by one from before each cut until the channels have joined anew and caught up.
func (g *generator) losses() {
	settled := 3*time.Second + g.s.Upstream.SubscribeDelay
	for at := g.seconds(8, 15); at < g.s.Length-15*time.Second; at += settled + g.seconds(10, 20) {
		socketsCut(oneOf(g, dropSockets, closeSockets))(g, at)
		for begin := at - time.Second; begin < at+settled; begin += g.seconds(0.02, 0.08) {
			w := writePlan{Begin: begin, Commit: begin + g.seconds(0, 0.01)}
			w.Statements = append(w.Statements, g.statement(&w))
			g.s.Writes = append(g.s.Writes, w)
		}
	}
}

func (g *generator) transaction(begin time.Duration) {
	length := g.seconds(0, 0.05)
	switch {
	case g.chance(0.10):
		length = g.seconds(5, 90)
	case g.chance(0.25):
		length = g.seconds(0.05, 5)
	}
	w := writePlan{Begin: begin, Commit: begin + length, Rollback: g.chance(0.03)}
	if w.Commit > g.s.Length {
		return
	}
	for range 1 + g.IntN(5) {
		w.Statements = append(w.Statements, g.statement(&w))
	}
	g.s.Writes = append(g.s.Writes, w)
}

func (g *generator) statement(w *writePlan) statement {
	if g.chance(0.12) {
		if st, ok := g.change(w.Begin); ok {
			return st
		}
	}
	st := statement{Op: "insert", Row: g.rows, Session: g.IntN(len(g.s.Sessions))}
	g.rows++
	switch {
	case g.chance(0.10):
		st.Session, st.Other, st.Kind = -1, g.IntN(others), ownerRow
	case g.chance(0.2):
		st.Kind = oneOf(g, hiddenKinds...)
	case g.chance(0.05):
		st.Kind, st.Blank = visitorRow, true
	case g.chance(0.03):
		st.Kind = large
	default:
		st.Kind = oneOf(g, shownKinds...)
	}
	if g.chance(0.1) {
		st.Padding = g.IntN(3000)
	}
	if g.chance(0.15) {
		st.Created = g.seconds(-2, 2)
	}
	if !w.Rollback {
		g.fates = append(g.fates, fate{row: st, committed: w.Commit})
	}
	return st
}

// change updates or deletes a row that is committed by then.
func (g *generator) change(begin time.Duration) (statement, bool) {
	for range 10 {
		if len(g.fates) == 0 {
			break
		}
		f := &g.fates[g.IntN(len(g.fates))]
		if f.changed || f.committed >= begin || begin-f.committed > 50*time.Second || f.row.Session < 0 || f.row.Kind == large {
			continue
		}
		f.changed = true
		st := f.row
		st.Version++
		st.Op = oneOf(g, "update", "delete")
		st.Blank = !st.Blank && g.chance(0.2)
		return st, true
	}
	return statement{}, false
}

// drops plans what visitors suffer.
func (g *generator) drops() {
	for i := range g.s.Visitors {
		at := g.s.Visitors[i].Start
		for {
			at += g.seconds(3, 60)
			if at >= g.s.Length {
				break
			}
			st := step{At: at, Do: oneOf(g, cutVisitor, cutVisitor, closeVisitor, stallVisitor), Visitor: i, For: g.seconds(0, 3)}
			switch {
			case g.chance(0.3):
				st.For = g.seconds(3, 30)
			case st.Do != stallVisitor && g.chance(0.05):
				st.For = g.seconds(60, 150)
			}
			st.For = g.calmEnd(st.At, st.For)
			g.s.Steps = append(g.s.Steps, st)
			at += st.For
		}
	}
}

// calmEnd shortens most of what would last until the end, so that most rows come before the final drain.
func (g *generator) calmEnd(at, length time.Duration) time.Duration {
	if latest := g.s.Length - 10*time.Second; at+length > latest && g.chance(0.8) {
		return max(latest-at, time.Millisecond)
	}
	return length
}

// endings ends some sessions.
func (g *generator) endings() {
	for i := range g.s.Sessions {
		if !g.chance(0.3) {
			continue
		}
		st := step{At: g.seconds(15, g.s.Length.Seconds()), Session: i, Do: endSession, Reason: oneOf(g, "ended", "expired", "terminated")}
		switch {
		case g.chance(0.25):
			st.Do = dropSession
		case g.chance(0.5):
			st.Do, st.Link = oneOf(g, disableLink, dropLink), g.s.Sessions[i].Link
		}
		g.s.Steps = append(g.s.Steps, st)
	}
}
