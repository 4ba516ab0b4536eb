package feed

import (
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// Wire is a socket that a test plays.
type Wire = wire

// PlaySockets lets dial make the feed's messages sockets, the first one at once. To be called before Run.
func (f *Feed) PlaySockets(dial func(realtime.Options) Wire) {
	f.newWire = func(o realtime.Options) (wire, error) { return dial(o), nil }
	s, err := f.newSocket()
	if err != nil {
		panic(err)
	}
	f.current.Store(s)
}

// QuoteIdent is quoteIdent.
var QuoteIdent = quoteIdent

// Reconcilable is reconcilable.
func Reconcilable(interests []chat.Interest, now time.Time) []chat.Interest {
	return reconcilable(interests, now)
}
