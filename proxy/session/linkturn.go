package session

import (
	"context"
	"net/netip"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// linkSlots is how many link tokens are judged at once for each session token: an Edge Function takes longer than the database.
const linkSlots = 4

// LinkTurn waits for a turn to have a link token judged that is not known to be good. There are as many in a second as for session tokens,
// given in the same order, and neither are the other's. Its errors are *chat.Refusal, or ctx's. Otherwise the caller calls done, once:
// judged says that the function knew what to say of the token, good what that was.
func (a *Authorizer) LinkTurn(ctx context.Context, from netip.Addr) (done func(judged, good bool), err error) {
	one, err := a.linkTurn.join(chat.Neighbourhood(from), false)
	if err != nil {
		return nil, a.unavailable(err)
	}
	switch err := a.linkTurn.await(ctx, one); {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, a.unavailable(err)
	}
	return func(judged, good bool) { a.linkTurn.release(one, judged, good) }, nil
}
