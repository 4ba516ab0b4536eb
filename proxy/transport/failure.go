package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// functionRetry is when a function that gave no usable answer is worth another try.
	functionRetry = 2 * time.Second
	maxApology    = 300 // bytes
)

var (
	errTooManySends    = errors.New("too many messages are being answered")
	errTooManyForwards = errors.New("too many calls are being forwarded")
	errAnswerForm      = errors.New("the function's answer is unusable")
)

// failure is a refusal with what else the body of its answer holds.
type failure struct {
	*chat.Refusal
	fields  map[string]any
	unasked bool // a limit kept the function from being asked
}

// fail makes a failure of an error that is, or wraps, a refusal or tells nothing.
func fail(err error) *failure { return &failure{Refusal: asRefusal(err)} }

func unasked(err error) *failure { return &failure{Refusal: asRefusal(err), unasked: true} }

// refuseWith answers with a failure. The causes and codes are those of refuse.
func (s *Server) refuseWith(w http.ResponseWriter, r *http.Request, f *failure) {
	if len(f.fields) == 0 {
		s.refuse(w, r, f.Refusal)
		return
	}
	s.logRefusal(r.Context(), f.Refusal, r)
	s.metrics.refused(f.Status)
	body := maps.Clone(f.fields)
	body["error"], body["code"] = f.Message, f.Code
	if id := requestID(r.Context()); id != "" {
		body["request_id"] = id
	}
	if seconds := retrySeconds(f.RetryAfter); seconds > 0 {
		body["retry_after"] = seconds
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	s.answer(w, f.Status, encode(body))
}

// functionTexts are the errors that the functions are known to answer with, and their codes. Any other text may be a driver's and is
// not passed on.
var functionTexts = map[string]string{
	"Missing required parameters: session_token, message": "missing_parameters",
	"Message too long (maximum 4000 characters)":          "message_too_long",
	"Missing token parameter":                             "missing_parameters",
	"Missing session_token parameter":                     "missing_token",
	"Missing link_token parameter":                        "missing_parameters",
	"Message limit reached for this session":              "message_limit_reached",
	"Rate limit exceeded":                                 codeRateLimit,
	"Failed to process message with agent":                codeAgentFailed,
	"Chat processing failed":                              codeAgentFailed,
	"Invalid or expired session":                          "invalid_session",
	"No active chat links found":                          codeInvalidLink,
	"Invalid or expired chat link":                        codeInvalidLink,
	"Invalid chat link":                                   codeInvalidLink,
	"Chat link has expired":                               "link_expired",
	"Maximum number of chat sessions reached":             "too_many_sessions",
	"Maximum sessions reached":                            "too_many_sessions",
	"Session not found or already ended":                  "session_not_found",
}

// upstreamTexts are answers below 500 by which the functions report a failure of the database.
var upstreamTexts = map[string]bool{
	"Session validation failed": true, "Failed to end session": true, "Failed to create session": true,
}

const (
	codeRateLimit   = "rate_limit_exceeded"
	codeAgentFailed = "agent_failed"
	codeInvalidLink = "invalid_link"
	agentFailedText = "Chat processing failed"
)

// functionFailure says what a visitor may know of an answer that is no success. Statuses without a text of the contract come from
// something in front of the function: a refused key or a missing function must not look like a session that is over.
func (s *Server) functionFailure(reply *FunctionReply) *failure {
	body, _ := parseFields(reply.Body)
	given, _ := body.text("error")
	code, known := functionTexts[given]
	switch {
	case reply.Status >= 500 && code == codeAgentFailed:
		if f := agentFailure(body, given); f != nil {
			return f
		}
	case known && inContract(reply.Status):
		ref := &chat.Refusal{
			Status: reply.Status, Code: code, Message: given, RetryAfter: s.functionWait(reply, code, body), Disconnect: chat.BadMessage,
		}
		return &failure{Refusal: ref, fields: contractFields(body)}
	case reply.Status == http.StatusTooManyRequests:
		wait := max(retryAfter(reply.Header), functionRetry)
		return &failure{Refusal: chat.RefuseLimit("too_many_requests", "Too many requests", wait)}
	case passes(reply.Status) && !upstreamTexts[given]:
		return &failure{Refusal: refuseRequest(reply.Status, "refused", "The request was not accepted")}
	}
	cause := fmt.Errorf("the function answered with status %d", reply.Status)
	if reply.Status < 300 {
		cause = errAnswerForm
	}
	return &failure{Refusal: chat.RefuseUnavailable(max(retryAfter(reply.Header), functionRetry), cause)}
}

// passes reports whether a status speaks about the request, whoever gave it.
func passes(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// inContract reports whether the functions themselves answer with a status below 500.
func inContract(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusTooManyRequests:
		return true
	}
	return passes(status)
}

// agentFailure is a message that was stored and got no reply; nil when the answer does not prove that.
func agentFailure(body fields, given string) *failure {
	id, _ := body.text("message_id")
	if id == "" {
		return nil
	}
	out := map[string]any{"success": false, "message_id": id}
	if conversation, _ := body.text("conversation_id"); conversation != "" {
		out["conversation_id"] = conversation
	}
	if apology, _ := body.text("message"); given == agentFailedText && apology != "" && len(apology) <= maxApology {
		out["message"] = apology
	}
	return &failure{fields: out, Refusal: &chat.Refusal{
		Status: http.StatusInternalServerError, Code: codeAgentFailed, Message: given, Disconnect: chat.Unavailable,
	}}
}

// functionWait is how long a visitor waits after a refusal: nothing where waiting does not help.
func (s *Server) functionWait(reply *FunctionReply, code string, body fields) time.Duration {
	if reply.Status != http.StatusTooManyRequests || code != codeRateLimit {
		return 0
	}
	wait := retryAfter(reply.Header)
	text, _ := body.text("reset_time")
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		wait = max(wait, at.Sub(s.opts.Now()))
	}
	return min(max(wait, time.Second), ratePeriod)
}

// contractFields keeps what the contract's errors hold beside their text, each only in its own type. The functions count the messages of
// the whole conversation, its owner's too, so what they counted stays here.
func contractFields(body fields) map[string]any {
	out := make(map[string]any)
	for _, name := range []string{"success", "valid", "ended"} {
		if value := strings.TrimSpace(string(body[name])); value == "true" || value == "false" {
			out[name] = value == "true"
		}
	}
	for _, name := range []string{"max_messages", "limit_per_minute"} {
		var n *int64
		if json.Unmarshal(body[name], &n) == nil && n != nil {
			out[name] = *n
		}
	}
	reset, _ := body.text("reset_time")
	if _, err := time.Parse(time.RFC3339Nano, reset); err == nil {
		out["reset_time"] = reset
	}
	if reason, _ := body.text("reason"); reason == "Session not valid" || reason == "Session not found" {
		out["reason"] = reason
	}
	return out
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}
