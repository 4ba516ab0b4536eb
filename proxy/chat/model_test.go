package chat_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// modelOverlap is how far the nodes' own reads go back.
const modelOverlap = 5 * time.Minute

// model is a table, two nodes that hear of it late, twice or never and read it back, and visitors who come, go and move.
type model struct {
	t     *testing.T
	r     *rand.Rand
	clock *clock
	table []*chat.Row
	// committed is when each row became visible to readers.
	committed map[string]time.Time
	nodes     []*modelNode
	visitors  []*modelVisitor
	trace     []string
	// quiet ends the writing.
	quiet bool
}

// modelNode is a node and the rows on the way to it.
type modelNode struct {
	*node
	wire   []*chat.Row
	proved time.Time
}

// modelVisitor has one stream at a time; log is all of their life.
type modelVisitor struct {
	name      string
	who       *chat.Visitor
	stream    *stream
	cursor    string
	connected time.Time
	log       []*chat.Event
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, m.clock.now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), clock: newClock(), committed: make(map[string]time.Time)}
	for i := range 2 {
		n := newNode(t, m.clock, uint64(1000*(i+1)), func(o *chat.Options) {
			o.WindowEvents, o.MaxHeld = []int{3, 500}[m.r.IntN(2)], []int{4, 1000}[m.r.IntN(2)]
		})
		m.nodes = append(m.nodes, &modelNode{node: n, proved: start})
	}
	for i := range 3 {
		m.visitors = append(m.visitors, &modelVisitor{name: fmt.Sprint("v", i), who: []*chat.Visitor{visitorS(), visitorS(), visitorS2()}[i]})
	}
	return m
}

// scope is the truth about a conversation: S is alone in C1, C2 is shared.
func (m *model) scope(conversation string) *chat.Scope {
	if conversation == idC1 {
		return isolatedScope()
	}
	return &chat.Scope{Sessions: []chat.SessionRef{
		{ID: idS2, ConversationSessionID: idCS2}, {ID: idSOther, ConversationSessionID: idCSO},
	}}
}

func (m *model) rows(conversation string, from time.Time) []*chat.Row {
	var out []*chat.Row
	for _, row := range m.table {
		if row.ConversationID == conversation && !row.CreatedAt.Before(from) {
			out = append(out, row)
		}
	}
	return out
}

// write commits a row, some of them well after their created_at, and puts it on the wires.
func (m *model) write() {
	if m.quiet {
		return
	}
	id := rowName(len(m.table))
	age := time.Duration(m.r.IntN(3)) * time.Duration(m.r.IntN(55)) * time.Second
	created := m.clock.now().Add(-age)
	row := untaggedRow(id, idC1, created)
	switch m.r.IntN(5) {
	case 0:
		row = taggedRow(id, idC2, idS2, created)
	case 1:
		row = taggedRow(id, idC2, idSOther, created)
	case 2:
		row = taggedRow(id, idC1, idS, created)
	}
	m.table = append(m.table, row)
	m.committed[id] = m.clock.now()
	for i, n := range m.nodes {
		copies := []int{0, 1, 1, 1, 1, 2}[m.r.IntN(6)]
		m.note("write %s age %v, %d copies to node %d", id, age, copies, i)
		for range copies {
			n.wire = append(n.wire, row)
		}
	}
}

// hear lets a node receive some of what is on its wire.
func (m *model) hear(n *modelNode) {
	for count := m.r.IntN(4); count > 0 && len(n.wire) > 0; count-- {
		n.Publish(n.wire[0], false)
		n.wire = n.wire[1:]
	}
}

// answer serves the scope readings that a node asked for.
func (m *model) answer(n *modelNode) {
	for len(n.asked) > 0 {
		id := n.asked[0]
		n.asked = n.asked[1:]
		stamp := n.BeginScope(id)
		if m.r.IntN(4) == 0 {
			m.hear(n)
		}
		n.SetScope(id, stamp, m.scope(id))
	}
}

// catchUp reads back everything from what is proved, with live rows arriving meanwhile.
func (m *model) catchUp(n *modelNode) {
	n.gaps = nil
	for _, in := range n.Interests() {
		id := in.ConversationID
		release := n.Hold([]string{id})
		readAt := m.clock.now()
		rows := m.rows(id, in.Proved.Add(-modelOverlap))
		m.clock.advance(time.Duration(m.r.IntN(100)) * time.Millisecond)
		if m.r.IntN(2) == 0 {
			m.write()
			m.hear(n)
		}
		n.Recover(id, rows, m.scope(id), nil)
		n.SetProved(id, readAt, modelOverlap)
		release()
	}
}

// come connects a visitor, up to where they are live or drop out again on the way.
func (m *model) come(v *modelVisitor) {
	n := m.nodes[m.r.IntN(len(m.nodes))]
	s := &stream{t: m.t}
	s.Attachment = n.Attach(v.who, v.cursor, streamOptions(s))
	v.stream = s
	if s.Building() {
		floor, readAt := m.clock.now().Add(-modelOverlap), m.clock.now()
		m.meanwhile(n)
		for !s.Baseline(m.rows(v.who.ConversationID, floor), m.scope(v.who.ConversationID), floor, readAt) {
			m.meanwhile(n)
		}
	}
	from, read := s.Resume()
	if !s.Resumed() {
		require.Empty(m.t, v.cursor, "an own cursor was refused")
		v.connected, v.log = m.clock.now(), nil
	}
	v.cursor = s.Cursor()
	s.cursor = v.cursor
	m.note("%s comes to node %d, reads %v from %v", v.name, slices.Index(m.nodes, n), read, from.Format("04:05.000"))
	for {
		if read && !m.backlog(n, v, from) {
			return
		}
		for {
			if m.r.IntN(12) == 0 {
				m.leave(v)
				return
			}
			if m.r.IntN(3) == 0 {
				m.meanwhile(n)
			}
			events, live, lost := s.Next(m.r.IntN(2000))
			s.got(events)
			if live {
				return
			}
			if lost {
				m.note("lost by the window")
				from, read = s.Rewind(), true
				break
			}
		}
	}
}

// backlog reads back page by page; false says that the visitor left on the way.
func (m *model) backlog(n *modelNode, v *modelVisitor, from time.Time) bool {
	rows := m.rows(v.who.ConversationID, from)
	chat.SortRows(rows)
	for page := range slices.Chunk(rows, 1+m.r.IntN(6)) {
		events := v.stream.Backlog(slices.Clone(page), m.scope(v.who.ConversationID))
		if m.r.IntN(10) == 0 {
			v.stream.got(events[:m.r.IntN(len(events)+1)])
			m.leave(v)
			return false
		}
		v.stream.got(events)
		if m.r.IntN(4) == 0 {
			m.meanwhile(n)
		}
	}
	return true
}

func (m *model) meanwhile(n *modelNode) {
	m.clock.advance(time.Duration(m.r.IntN(50)) * time.Millisecond)
	if m.r.IntN(2) == 0 {
		m.write()
	}
	m.hear(n)
	m.answer(n)
}

// leave drops a visitor's stream; what was queued and not taken is not theirs.
func (m *model) leave(v *modelVisitor) {
	if m.r.IntN(3) == 0 {
		v.stream.take()
	}
	m.note("%s leaves", v.name)
	m.collect(v)
	v.stream.Close()
	v.stream = nil
}

func (m *model) collect(v *modelVisitor) {
	for _, e := range v.stream.events {
		m.note("  %s had %s recovered=%v replayed=%v", v.name, e.Message.ID, e.Message.Recovered, e.Message.Replayed)
	}
	v.log = append(v.log, v.stream.events...)
	v.cursor, v.stream.events = v.stream.cursor, nil
}

func (m *model) step() {
	n := m.nodes[m.r.IntN(len(m.nodes))]
	v := m.visitors[m.r.IntN(len(m.visitors))]
	switch k := m.r.IntN(20); {
	case k < 8:
		m.write()
	case k < 12:
		m.hear(n)
		m.answer(n)
	case k == 12:
		m.catchUp(n)
	case k == 13:
		n.Sweep()
	case k == 14:
		m.clock.advance(time.Duration(m.r.IntN(90)) * time.Second)
	case k < 17 && v.stream == nil:
		m.come(v)
	case k == 17 && v.stream != nil:
		m.leave(v)
	case v.stream != nil:
		v.stream.take()
	}
	m.clock.advance(time.Duration(m.r.IntN(400)) * time.Millisecond)
	for _, n := range m.nodes {
		if len(n.gaps) > 0 {
			m.catchUp(n)
		}
	}
}

// settle brings everybody up to date.
func (m *model) settle() {
	m.quiet = true
	for _, v := range m.visitors {
		for v.stream == nil {
			m.come(v)
		}
	}
	for _, n := range m.nodes {
		for len(n.wire) > 0 {
			m.hear(n)
		}
		for range 3 {
			m.answer(n)
			m.catchUp(n)
		}
		for _, in := range n.Interests() {
			held, _ := n.Waiting(in.ConversationID)
			require.Zero(m.t, held, "rows wait for nothing")
		}
	}
	for _, v := range m.visitors {
		v.stream.take()
		m.collect(v)
	}
}

// check compares what a visitor was given with what they were owed.
func (m *model) check(seed uint64) (rows, replayed int) {
	fail := func(v *modelVisitor, format string, args ...any) {
		for _, line := range m.trace {
			m.t.Log(line)
		}
		m.t.Fatalf("seed %d, %s: "+format, append([]any{seed, v.name}, args...)...)
	}
	for _, v := range m.visitors {
		given := make(map[string]int)
		for _, e := range v.log {
			if e.Kind != chat.KindMessage {
				fail(v, "%s of a row that never changed", e.Kind)
			}
			given[e.Message.ID]++
			if given[e.Message.ID] > 1 && !e.Message.Replayed {
				fail(v, "%s was given twice", e.Message.ID)
			}
			if e.Message.Replayed {
				replayed++
			}
		}
		for _, row := range m.table {
			_, verdict := chat.Rule{}.Judge(v.who, row, m.scope(row.ConversationID))
			switch {
			case verdict != chat.Granted && given[row.ID] > 0:
				fail(v, "%s leaked", row.ID)
			case verdict == chat.Granted && given[row.ID] == 0 && m.committed[row.ID].After(v.connected):
				fail(v, "%s was lost", row.ID)
			}
			rows += given[row.ID]
		}
	}
	return rows, replayed
}

var seeds = flag.Uint64("seeds", 300, "how many schedules TestVisitorsGetEveryRowOnceWhateverHappens runs")

func TestVisitorsGetEveryRowOnceWhateverHappens(t *testing.T) {
	rows, replayed := 0, 0
	for seed := range *seeds {
		m := newModel(t, seed)
		for range 150 {
			m.step()
		}
		m.settle()
		r, again := m.check(seed)
		rows, replayed = rows+r, replayed+again
	}
	require.Greater(t, rows, int(*seeds)*30, "the model is idle")
	require.Less(t, replayed, rows/20, "rows are replayed rather than known")
	t.Logf("%d rows given, %d of them marked as replayed", rows, replayed)
}
