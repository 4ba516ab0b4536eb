package transport

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// gate is where a connection came in from. What its session's link allows is looked at again whenever that changes.
type gate struct {
	from    caller
	session string
	visitor atomic.Pointer[chat.Visitor] // the newest reading
	shut    func(*chat.Refusal)          // ends the connection; does not block and may be called more than once
}

// gates are the gates of all connections, by session.
type gates struct {
	mu   sync.Mutex
	open map[string]map[*gate]struct{}
}

func newGates() *gates { return &gates{open: make(map[string]map[*gate]struct{})} }

// enter opens a gate before the session is tracked, so that no change of its link is missed.
func (g *gates) enter(from caller, v *chat.Visitor, shut func(*chat.Refusal)) *gate {
	one := &gate{from: from, session: v.SessionID, shut: shut}
	one.visitor.Store(v)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[v.SessionID] == nil {
		g.open[v.SessionID] = make(map[*gate]struct{})
	}
	g.open[v.SessionID][one] = struct{}{}
	return one
}

func (g *gates) leave(one *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.open[one.session]
	if delete(of, one); len(of) == 0 {
		delete(g.open, one.session)
	}
}

func (g *gates) of(session string) (all []*gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for one := range g.open[session] {
		all = append(all, one)
	}
	return all
}

// LinkChanged takes a newer reading of a session whose link restricts it otherwise than before. Connections that may not be open under
// it are ended with the refusal that a new one would get. It does not block.
func (s *Server) LinkChanged(v *chat.Visitor) {
	for _, one := range s.gates.of(v.SessionID) {
		one.visitor.Store(v)
		if ref, ok := errors.AsType[*chat.Refusal](checkLink(one.from, v)); ok {
			one.shut(ref)
		}
	}
}

// newest is a grant with the newest reading of its session.
func (g *gate) newest(granted *chat.Grant) *chat.Grant {
	now := *granted
	now.Visitor = g.visitor.Load()
	return &now
}

// shutFor ends the stream of a visitor whom the link does not admit any more.
func (st *stream) shutFor(ref *chat.Refusal) {
	last := st.server.refusalControl(ref)
	st.server.logStreamRefusal(st, ref)
	st.end(disconnectOf(ref), &last)
}
