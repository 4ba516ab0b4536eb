package transport

import (
	"container/list"
	"crypto/sha256"
	"sync"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxKnownLinks bounds the link tokens that are known to be good.
const maxKnownLinks = 10_000

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
