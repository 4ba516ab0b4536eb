package transport

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// functionError is the body of an error, as of the functions that the proxy replaces.
type functionError struct {
	Error      string `json:"error"`
	Code       string `json:"code"`
	RequestID  string `json:"request_id,omitempty"`
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
}

// plainError is the body of an error below the paths of Realtime.
type plainError struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	RequestID  string `json:"request_id,omitempty"`
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
}

// refuse is the only place that turns an error into a status and a body. The cause is logged here, once, and never sent.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if gone(r, err) {
		return // nobody reads an answer
	}
	ref := asRefusal(err)
	s.logRefusal(r.Context(), ref, r)
	s.metrics.refused(ref.Status)
	seconds := retrySeconds(ref.RetryAfter)
	h := w.Header()
	if seconds > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
	id := requestID(r.Context())
	if strings.HasPrefix(r.URL.Path, "/realtime/") {
		s.answer(w, ref.Status, encode(plainError{ref.Code, ref.Message, id, seconds}))
		return
	}
	s.answer(w, ref.Status, encode(functionError{ref.Message, ref.Code, id, seconds}))
}

// gone says that the request ended because the visitor went away.
func gone(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

// asRefusal is the refusal in err, or one that tells nothing.
func asRefusal(err error) *chat.Refusal {
	if ref, ok := errors.AsType[*chat.Refusal](err); ok {
		return ref
	}
	if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return chat.RefuseUnavailable(time.Second, err)
	}
	return &chat.Refusal{
		Status: http.StatusInternalServerError, Code: "internal", Message: "Internal server error",
		Disconnect: chat.Unavailable, Cause: err,
	}
}

// logRefusal names the route, not the path: a path that is not served may hold a token, as the pages of links do.
func (s *Server) logRefusal(ctx context.Context, ref *chat.Refusal, r *http.Request) {
	attrs := []slog.Attr{slog.String("route", r.Pattern), slog.Int("status", ref.Status), slog.String("reason", ref.Code)}
	if id := requestID(ctx); id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	if ref.Cause != nil {
		attrs = append(attrs, slog.Any("err", ref.Cause))
	}
	s.log.LogAttrs(ctx, refusalLevel(ref), "request refused", attrs...)
}

// refusalLevel: a visitor's fault, a state that passes, or a fault of the proxy.
func refusalLevel(ref *chat.Refusal) slog.Level {
	switch {
	case ref.Status < http.StatusInternalServerError, ref.Quiet:
		return slog.LevelDebug
	case ref.Status == http.StatusInternalServerError:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// refuseRequest is a fault of the request itself.
func refuseRequest(status int, code, message string) *chat.Refusal {
	return &chat.Refusal{Status: status, Code: code, Message: message, Disconnect: chat.BadMessage}
}

func refuseMethod(w http.ResponseWriter, allowed string) *chat.Refusal {
	w.Header().Set("Allow", allowed)
	return refuseRequest(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed")
}

// retrySeconds rounds up, so that nobody comes back too early.
func retrySeconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(math.Ceil(d.Seconds()))
}
