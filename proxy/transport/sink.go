package transport

import (
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// sink is the wire of one stream. All but wait and close are called by one goroutine at a time.
type sink interface {
	// event and frame gather what flush then writes at once. A frame of no bytes stands for control frames that wait in the sink.
	event(e *chat.Event) error
	frame(text []byte) error
	// flush writes what was gathered, with a deadline, and returns how many bytes that was.
	flush(timeout time.Duration) (int, error)
	// finish flushes, says goodbye as the transport does and ends the writing side.
	finish(why *chat.Disconnect, timeout time.Duration) (int, error)
	// close cuts the connection; whoever is in wait or in a write comes back. It may be called more than once and from anywhere.
	close()
}

// frames is a control event for many streams, encoded once a dialect. It is used by one goroutine at a time.
type frames struct {
	control chat.Control
	text    [chat.DialectPoll][]byte // the dialects before it are those with control events
}

func (s *Server) newFrames(c chat.Control) *frames {
	c.At = s.opts.Now().UTC()
	return &frames{control: c}
}

// of must be asked only for dialects of which hasControls says so.
func (f *frames) of(d chat.Dialect) []byte {
	if f.text[d] == nil {
		f.text[d] = f.control.Encode(d)
	}
	return f.text[d]
}

// hasControls reports whether control events are pushed to subscribers of a dialect.
func hasControls(d chat.Dialect) bool { return d < chat.DialectPoll }

// control stamps a control event.
func (s *Server) control(c chat.Control) chat.Control {
	c.At = s.opts.Now().UTC()
	return c
}

// wireError is the data of an error event.
type wireError struct {
	Code            string `json:"code"`
	Message         string `json:"message"`
	ClientMessageID string `json:"clientMessageId,omitempty"`
	RetryAfter      int    `json:"retry_after,omitempty"` // seconds
}

func (s *Server) errorControl(e wireError) chat.Control {
	return s.control(chat.Control{Type: "error", Data: e, Flat: true})
}

func (s *Server) refusalControl(ref *chat.Refusal) chat.Control {
	return s.errorControl(wireError{Code: ref.Code, Message: ref.Message, RetryAfter: retrySeconds(ref.RetryAfter)})
}

type reconnectHint struct {
	RetryMS int64  `json:"retry_ms"`
	Reason  string `json:"reason"`
}

// reconnectControl tells a stream that is about to end when to come back.
func (s *Server) reconnectControl(why *chat.Disconnect) chat.Control {
	return s.control(chat.Control{
		Type: "reconnect", Data: reconnectHint{s.retryIn(s.opts.Retry).Milliseconds(), why.Code}, Flat: true,
	})
}

// farewell is the last event of a stream that ends without one.
func (s *Server) farewell(why *chat.Disconnect) chat.Control {
	if why.Reconnect {
		return s.reconnectControl(why)
	}
	return s.errorControl(wireError{Code: why.Code, Message: why.Message})
}

// retryIn spreads a wait over half of it to one and a half times, so that those who were cut together do not come back together.
func (s *Server) retryIn(d time.Duration) time.Duration {
	return (d/2 + time.Duration(s.opts.Rand()*float64(d))).Round(time.Millisecond)
}
