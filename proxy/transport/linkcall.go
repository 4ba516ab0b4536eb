package transport

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/http"
	"sync"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxKnownLinks bounds the link tokens that are known to be good.
const maxKnownLinks = 10_000

// linkCall makes a call with a link token. One that is not known to be good is a try of its address, and goes on when the caller goes
// away, as the function judges it all the same.
func (s *Server) linkCall(ctx context.Context, c *apiCall, token chat.Token, body map[string]any) (*FunctionReply, *failure) {
	if s.links.good(token) {
		reply, f := s.callAPI(ctx, c, body, forwardTimeout)
		s.learnLink(token, f)
		return reply, f
	}
	try := s.tries.of(c.from.addr)
	if err := try.Begin(ctx); err != nil {
		return nil, unasked(err)
	}
	return apart(ctx, s.spawnTry(try), func(ctx context.Context) (*FunctionReply, *failure) {
		reply, f := s.callAPI(ctx, c, body, forwardTimeout)
		s.learnLink(token, f)
		try.Settle(isBadLink(f))
		return reply, f
	})
}

// spawnTry is spawn for what settles a try.
func (s *Server) spawnTry(t *try) func(func(context.Context)) bool {
	return func(f func(context.Context)) bool {
		started := s.spawn(f)
		if !started {
			t.Settle(false)
		}
		return started
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
