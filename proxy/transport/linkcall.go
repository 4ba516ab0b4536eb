package transport

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"sync"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxKnownLinks bounds the link tokens that are known to be good.
const maxKnownLinks = 10_000

// LinkTurns decides when a link token that is not known to be good is judged.
type LinkTurns interface {
	// LinkTurn waits for a turn. Its errors are *chat.Refusal, or the context's. The caller calls done once: judged says that the function
	// knew what to say of the token, good what that was.
	LinkTurn(ctx context.Context, from netip.Addr) (done func(judged, good bool), err error)
}

// linkCall makes a call with a link token. One that is not known to be good is a try of its address and waits for its turn. It goes on when
// the caller goes away, as the function judges it all the same.
func (s *Server) linkCall(ctx context.Context, c *apiCall, token chat.Token, body map[string]any) (*FunctionReply, *failure) {
	if s.links.good(token) {
		reply, f := s.callAPI(ctx, c, body, forwardTimeout)
		s.learnLink(token, f)
		return reply, f
	}
	settle, err := s.tryLink(ctx, c.from.addr)
	if err != nil {
		return nil, unasked(err)
	}
	spawn := func(f func(context.Context)) bool {
		started := s.spawn(f)
		if !started {
			settle(false, false)
		}
		return started
	}
	return apart(ctx, spawn, func(ctx context.Context) (*FunctionReply, *failure) {
		reply, f := s.callAPI(ctx, c, body, forwardTimeout)
		s.learnLink(token, f)
		settle(f == nil || isBadLink(f), f == nil)
		return reply, f
	})
}

// tryLink begins a try of an address and waits for its turn. settle ends both, as LinkTurn's done does.
func (s *Server) tryLink(ctx context.Context, from netip.Addr) (settle func(judged, good bool), err error) {
	try := s.tries.of(from)
	if err := try.Begin(ctx); err != nil {
		return nil, err
	}
	done := func(_, _ bool) {}
	if s.opts.LinkTurns != nil {
		if done, err = s.opts.LinkTurns.LinkTurn(ctx, from); err != nil {
			try.Settle(false)
			s.countTurn(err)
			return nil, err
		}
	}
	return func(judged, good bool) {
		done(judged, good)
		try.Settle(judged && !good)
	}, nil
}

// countTurn counts a token that came to no turn.
func (s *Server) countTurn(err error) {
	if ref, ok := errors.AsType[*chat.Refusal](err); ok && ref.Quiet {
		s.metrics.limits.WithLabelValues(limitTurns).Inc()
	}
}

// isBadLink says that the function knows no such link.
func isBadLink(f *failure) bool {
	return f != nil && (f.Status == http.StatusUnauthorized || f.Code == codeInvalidLink)
}

// learnLink remembers what a call said of a link token.
func (s *Server) learnLink(token chat.Token, f *failure) {
	switch {
	case f == nil:
		s.links.put(token, "")
	case isBadLink(f):
		s.links.remove(token)
	}
}

// knownLinks remembers good link tokens and, where the function has said so, which links they belong to; the least recently used is
// forgotten first.
type knownLinks struct {
	mu      sync.Mutex
	recent  list.List // of knownLink
	entries map[[sha256.Size]byte]*list.Element
}

type knownLink struct {
	token [sha256.Size]byte
	id    string
}

func newKnownLinks() *knownLinks {
	return &knownLinks{entries: make(map[[sha256.Size]byte]*list.Element)}
}

// get returns the id of a token's link, or "".
func (k *knownLinks) get(token chat.Token) string {
	one, _ := k.use(token)
	return one.id
}

func (k *knownLinks) good(token chat.Token) bool {
	_, known := k.use(token)
	return known
}

func (k *knownLinks) use(token chat.Token) (one knownLink, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, known := k.entries[sha256.Sum256([]byte(token))]
	if !known {
		return knownLink{}, false
	}
	k.recent.MoveToFront(e)
	return e.Value.(knownLink), true
}

func (k *knownLinks) remove(token chat.Token) {
	sum := sha256.Sum256([]byte(token))
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.entries[sum]; ok {
		k.recent.Remove(e)
		delete(k.entries, sum)
	}
}

// put remembers a good token. An id that is known stays when none is given.
func (k *knownLinks) put(token chat.Token, id string) {
	sum := sha256.Sum256([]byte(token))
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.entries[sum]; ok {
		e.Value = knownLink{sum, either(id, e.Value.(knownLink).id)}
		k.recent.MoveToFront(e)
		return
	}
	k.entries[sum] = k.recent.PushFront(knownLink{sum, id})
	if k.recent.Len() > maxKnownLinks {
		delete(k.entries, k.recent.Remove(k.recent.Back()).(knownLink).token)
	}
}
