package transport

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// because records why the stream ends; the first cause counts.
func (st *stream) because(why *chat.Disconnect) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.why == nil {
		st.why = why
	}
}

// end makes last (may be nil) the last event. A stream that is joining is ended by whoever joins it.
func (st *stream) end(why *chat.Disconnect, last *chat.Control) {
	st.mu.Lock()
	if st.why == nil {
		st.why = why
	}
	sub, cancel := st.sub, st.cancel
	st.mu.Unlock()
	switch {
	case sub != nil:
		sub.End(why, last)
	case cancel != nil:
		cancel(why)
	case st.beginWriter():
		go func() {
			defer st.writers.Done()
			st.endNow(why, last)
		}()
	}
}

// endNow writes the end past the queue.
func (st *stream) endNow(why *chat.Disconnect, last *chat.Control) {
	var items []chat.Item
	if last != nil {
		items = append(items, chat.Item{Frame: last.Encode(st.dialect)})
	}
	_ = st.write(append(items, chat.Item{End: why})) // write has drawn the consequences
}

// abandon ends a stream whose join or delivery failed.
func (st *stream) abandon(err error) {
	s := st.server
	if sub := st.subscriber(); sub != nil && sub.Ended() != nil {
		if items, more := sub.Take(nil); more {
			_ = st.write(items) // write has drawn the consequences
		}
		return
	}
	if st.isFinished() {
		return // a write failed
	}
	if why, ended := errors.AsType[*chat.Disconnect](err); ended {
		last := s.farewell(why)
		st.endNow(why, &last)
		return
	}
	if errors.Is(err, context.Canceled) {
		st.cut(chat.Gone)
		return
	}
	ref := asRefusal(err)
	s.logStreamRefusal(st, ref)
	last := s.refusalControl(ref)
	st.endNow(disconnectOf(ref), &last)
}

func (st *stream) isFinished() bool {
	st.writing.Lock()
	defer st.writing.Unlock()
	return st.finished
}

// leave takes the stream down. It is called once, by its owner, and returns when nothing of the stream is left.
func (st *stream) leave() {
	s := st.server
	st.mu.Lock()
	st.shut = true
	if st.why == nil {
		st.why = chat.Gone
	}
	why, cancel := st.why, st.cancel
	st.mu.Unlock()
	if cancel != nil {
		cancel(why)
	}
	st.sink.close()
	st.writers.Wait()
	s.wheel.remove(&st.timer)
	st.lease.release()
	if st.attachment != nil {
		st.attachment.Close()
		st.untrack()
		s.gates.leave(st.gate)
	}
	st.wire.end(why)
	s.logEnd(st, why)
	s.remove(st)
}

// cut ends the connection without a word.
func (st *stream) cut(why *chat.Disconnect) {
	st.because(why)
	st.sink.close()
}

// disconnectOf says how a stream ends for a refusal.
func disconnectOf(ref *chat.Refusal) *chat.Disconnect {
	switch {
	case ref.Disconnect != nil:
		return ref.Disconnect
	case ref.Status == 401 || ref.Status == 403:
		return chat.InvalidSession
	case ref.Status == 410:
		return chat.SessionEnded
	case ref.Status == 429:
		return chat.LimitReached
	case ref.Status < 500:
		return chat.BadMessage
	}
	return chat.Unavailable
}

func (s *Server) logEnd(st *stream, why *chat.Disconnect) {
	attrs := []slog.Attr{
		slog.String("conn_id", st.connID), slog.String("transport", st.wire.transport), slog.String("reason", why.Code),
		slog.Duration("age", time.Since(st.opened).Round(time.Millisecond)),
	}
	if sub := st.subscriber(); sub != nil {
		v := sub.Visitor()
		attrs = append(attrs, slog.String("session_id", v.SessionID), slog.String("conversation_id", v.ConversationID))
	}
	s.log.LogAttrs(s.base, slog.LevelInfo, "stream ended", attrs...)
}

func (s *Server) logStreamRefusal(st *stream, ref *chat.Refusal) {
	attrs := []slog.Attr{
		slog.String("conn_id", st.connID), slog.String("transport", st.wire.transport), slog.String("reason", ref.Code),
	}
	if ref.Cause != nil {
		attrs = append(attrs, slog.Any("err", ref.Cause))
	}
	s.metrics.refused(ref.Status)
	s.log.LogAttrs(s.base, refusalLevel(ref), "stream refused", attrs...)
}
