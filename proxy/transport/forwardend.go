package transport

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// endTimeout bounds the function's try to end a session; the proxy's own comes after it.
	endTimeout  = 10 * time.Second
	maxFeedback = 1000 // characters, as the table has it
	// endedByVisitor is the reason where the visitor gives none that the table takes.
	endedByVisitor = "completed"
	statusEnded    = "ended"
)

// endReasons are those that the table takes.
var endReasons = []string{"completed", "timeout", "expired", "terminated", "error", "max_messages", "max_duration"}

// SessionEnd is how a session ends.
type SessionEnd struct {
	Status   string // of the row: ended or terminated
	Reason   string // one that the table takes
	Rating   int    // 1 to 5, 0 for none
	Feedback string // at most 1,000 characters
}

// Endings ends sessions at the visitor's wish. Both ways close the session's streams.
type Endings interface {
	// EndSession ends the row of a session unless it has ended before: then ended is false.
	EndSession(ctx context.Context, v *chat.Visitor, e SessionEnd) (endedAt time.Time, ended bool, err error)
	// SessionChanged tells of a session that somebody else ended.
	SessionChanged(id, status, endReason string, endedAt time.Time)
}

// endedBody is the function's answer for a session that the proxy ended itself.
type endedBody struct {
	Success   bool   `json:"success"`
	Ended     bool   `json:"ended"`
	EndReason string `json:"end_reason"`
	EndedAt   string `json:"ended_at"`
	Message   string `json:"message"`
}

// forwardEnd ends a session: by the function, or where that cannot, by writing the row. A page that is being left does not wait for the
// answer, so the visitor's going away ends nothing of this.
func (s *Server) forwardEnd(w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure) {
	in, g, f := s.sessionCall(w, r, c)
	if f != nil {
		return nil, sessionNotFound(f)
	}
	end, ref := readEnd(in)
	if ref != nil {
		return nil, fail(ref)
	}
	return apart(r.Context(), s.spawnSend, func(ctx context.Context) (*FunctionReply, *failure) { return s.end(ctx, c, g, end) })
}

// sessionNotFound says in the function's words that there is no session to end.
func sessionNotFound(f *failure) *failure {
	switch f.Status {
	case http.StatusUnauthorized, http.StatusGone:
		ref := refuseRequest(http.StatusNotFound, "session_not_found", "Session not found or already ended")
		ref.Cause = f.Cause
		return &failure{Refusal: ref, fields: map[string]any{"ended": false}}
	}
	return f
}

// readEnd checks what a visitor says about the end. A reason that the table would not take must not keep a session open.
func readEnd(in fields) (e SessionEnd, ref *chat.Refusal) {
	e.Status = statusEnded
	reason, ok := in.text("end_reason")
	if !ok {
		return e, refuseBody("end_reason must be a string")
	}
	if e.Reason = reason; !slices.Contains(endReasons, reason) {
		e.Reason = endedByVisitor
	}
	var rating *int
	if raw, given := in["satisfaction_rating"]; given && json.Unmarshal(raw, &rating) != nil || rating != nil && (*rating < 1 || *rating > 5) {
		return e, refuseBody("satisfaction_rating must be a whole number from 1 to 5")
	}
	if rating != nil {
		e.Rating = *rating
	}
	e.Feedback, ref = in.textOf("feedback_text", maxFeedback)
	return e, ref
}

func (e SessionEnd) fields(token chat.Token) map[string]any {
	out := map[string]any{"session_token": token.Reveal(), "end_reason": e.Reason}
	if e.Rating != 0 {
		out["satisfaction_rating"] = e.Rating
	}
	if e.Feedback != "" {
		out["feedback_text"] = e.Feedback
	}
	return out
}

// end has the function end the session and does so itself where the function cannot: it calls code that some databases lack. Nobody but
// the table is believed when it says that the session, which was proved a moment ago, is not there.
func (s *Server) end(ctx context.Context, c *apiCall, g *chat.Grant, e SessionEnd) (*FunctionReply, *failure) {
	v := g.Visitor
	reply, f := s.callAPI(ctx, c, e.fields(g.Token), endTimeout)
	if f == nil && saysEnded(reply.Body) {
		if s.opts.Endings != nil {
			s.opts.Endings.SessionChanged(v.SessionID, statusEnded, e.Reason, endedAtOf(reply.Body))
		}
		return reply, nil
	}
	if s.opts.Endings == nil {
		return reply, f
	}
	if f != nil && f.Code != "session_not_found" {
		s.log.Info("session not ended by the function", "session_id", v.SessionID, "err", f.Refusal)
	}
	at, ended, err := s.opts.Endings.EndSession(ctx, v, e)
	switch {
	case err != nil:
		return nil, fail(unavailable(ctx, err))
	case !ended:
		return nil, sessionNotFound(fail(chat.RefuseEnded(nil)))
	}
	return &FunctionReply{Status: http.StatusOK, Body: encode(endedBody{
		Success: true, Ended: true, EndReason: e.Reason, EndedAt: isoTime(at), Message: "Session ended successfully",
	})}, nil
}

func saysEnded(body []byte) bool {
	f, ok := parseFields(body)
	return ok && string(f["ended"]) == "true"
}

// endedAtOf is when the function ended the session; zero when it does not say.
func endedAtOf(body []byte) time.Time {
	f, _ := parseFields(body)
	text, _ := f.text("ended_at")
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
