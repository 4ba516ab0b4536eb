package transport

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

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
