package transport

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// frontRefusal is why a topic is not joined.
type frontRefusal struct {
	reason string // of the reply, begins with a code as the real server's do
	text   string // of the system message
	// passing says that trying again makes sense. Otherwise the channel is closed: clients would try for ever, or hang.
	passing bool
}

func permanent(code, text string) *frontRefusal {
	return &frontRefusal{reason: code + ": " + text, text: text}
}

var (
	refuseNoKey = permanent("Unauthorized",
		"A session token or ticket is needed, as the key of createClient or through setAuth; the project's own key proves no session")
	refuseServiceKey = permanent("Unauthorized", "A service key may not be used here")
)

// asFrontRefusal is what a client is told of an error.
func asFrontRefusal(err error) *frontRefusal {
	if own, ok := errors.AsType[*frontError](err); ok {
		return own.ref
	}
	ref := asRefusal(err)
	switch {
	case ref.Status == http.StatusTooManyRequests:
		return &frontRefusal{"ConnectionRateLimitReached: " + ref.Message, ref.Message, true}
	case ref.Status >= http.StatusInternalServerError:
		return &frontRefusal{"UnableToConnectToProject: " + ref.Message, ref.Message, true}
	}
	return permanent("Unauthorized", ref.Message)
}

// frontError carries a refusal that has no HTTP form.
type frontError struct{ ref *frontRefusal }

// Error is what the client is told.
func (e *frontError) Error() string { return e.ref.reason }

// refuseJoin ends a join with an error, or with the end of whatever it waited for.
func (f *front) refuseJoin(ctx context.Context, c *frontChannel, err error) *frontRefusal {
	if errors.Is(err, context.Canceled) && !errors.Is(context.Cause(ctx), errStopped) {
		return nil // the channel is over
	}
	ref := asFrontRefusal(err)
	if _, own := errors.AsType[*frontError](err); own {
		f.server.metrics.refused(http.StatusForbidden)
		return ref
	}
	f.server.logFrontRefusal(f, asRefusal(err))
	return ref
}

// refuseLaterLocked answers a join after a while, so that a client that tries again and again costs little. front.mu is held.
func (f *front) refuseLaterLocked(c *frontChannel, ref *frontRefusal) {
	timer := time.AfterFunc(f.server.opts.RefusalDelay, func() {
		if f.beginWriter() {
			defer f.writers.Done()
			f.refuseNow(c, ref)
		}
	})
	c.stop = func() { timer.Stop() }
}

func (f *front) refuseNow(c *frontChannel, ref *frontRefusal) {
	last := append([]phoenix.Message{errorReply(c.joinRef, c.ref, c.topic, ref.reason)}, c.closesOld()...)
	if ref.passing {
		last = append(last, phoenix.ChannelError(c.joinRef, c.topic)) // the older client waits for it
	} else {
		last = append(last, c.system("system", phoenix.StatusError, ref.text), phoenix.Close(c.joinRef, c.topic))
	}
	f.dismiss(c, last...)
}

// closesOld tells the client of the channel that this one replaced, whose close comes behind the answer.
func (c *frontChannel) closesOld() []phoenix.Message {
	if c.replaces == nil {
		return nil
	}
	return []phoenix.Message{phoenix.Close(*c.replaces, c.topic)}
}

func errorReply(joinRef, ref phoenix.Ref, topic, reason string) phoenix.Message {
	response := encode(struct {
		Reason string `json:"reason"`
	}{reason})
	return phoenix.Reply(joinRef, ref, topic, phoenix.StatusError, response)
}

// isPassing reports whether a credential could not be judged, or may be judged otherwise soon.
func isPassing(err error) bool {
	ref, ok := errors.AsType[*chat.Refusal](err)
	return !ok || ref.Status >= http.StatusInternalServerError || ref.Status == http.StatusTooManyRequests
}

func (s *Server) logFrontRefusal(f *front, ref *chat.Refusal) {
	attrs := []slog.Attr{
		slog.String("conn_id", f.connID), slog.String("transport", transportRealtime), slog.String("reason", ref.Code),
	}
	if ref.Cause != nil {
		attrs = append(attrs, slog.Any("err", ref.Cause))
	}
	s.metrics.refused(ref.Status)
	s.log.LogAttrs(s.base, refusalLevel(ref), "channel refused", attrs...)
}
