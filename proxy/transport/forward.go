package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	forwardFunction = "temporary-chat-api"
	forwardTimeout  = 30 * time.Second
	// maxForwards bounds the forwarded calls that are under way.
	maxForwards = 200
	// maxForwardBytes bounds a function's answer.
	maxForwardBytes = 1 << 20
)

// forwarding is one of the calls that are passed on to Supabase. Nothing else is.
type forwarding struct {
	open bool // brings no token: may be a GET, and never counts against the address
	do   func(s *Server, w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure)
}

var forwardings = map[string]forwarding{
	"":                 {open: true, do: (*Server).forwardHealth},
	"health":           {open: true, do: (*Server).forwardHealth},
	"validate":         {do: (*Server).forwardValidate},
	"validate-session": {do: (*Server).forwardValidateSession},
	"create-session":   {do: (*Server).forwardCreate},
	"end-session":      {do: (*Server).forwardEnd},
}

// apiCall is a call of the links' function on its way.
type apiCall struct {
	path   string
	method string
	from   caller
}

// handleForward passes a call of the links' function on and its answer back.
func (s *Server) handleForward(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/functions/v1"), "/"+forwardFunction)
	path = strings.TrimPrefix(path, "/")
	call, known := forwardings[path]
	if !known {
		s.notFound(w, r)
		return
	}
	reply, f := s.forward(w, r, path, call)
	if f != nil {
		s.refuseWith(w, r, f)
		return
	}
	s.answer(w, reply.Status, reply.Body)
}

func (s *Server) forward(w http.ResponseWriter, r *http.Request, path string, call forwarding) (*FunctionReply, *failure) {
	switch {
	case r.Method == http.MethodPost:
	case !call.open:
		return nil, fail(refuseMethod(w, "POST, OPTIONS"))
	case r.Method != http.MethodGet:
		return nil, fail(refuseMethod(w, "GET, POST, OPTIONS"))
	}
	c := &apiCall{path: path, method: r.Method, from: s.callerOf(r)}
	if !s.calls.take(chat.Neighbourhood(c.from.addr), 1, s.opts.CallsPerSecond, time.Now()) {
		return nil, fail(s.limits.refuse(limitCalls, "too_many_calls", "Too many calls", time.Second))
	}
	return call.do(s, w, r, c)
}

func (s *Server) forwardHealth(w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure) {
	if _, ref := s.readBody(w, r); ref != nil {
		return nil, fail(ref)
	}
	return s.askHealth(r.Context(), c)
}

// callAPI makes one call of the links' function, if there is a place for it.
func (s *Server) callAPI(ctx context.Context, c *apiCall, fields map[string]any, most time.Duration) (*FunctionReply, *failure) {
	select {
	case s.sends.forwards <- struct{}{}:
		defer func() { <-s.sends.forwards }()
	default:
		return nil, unasked(chat.RefuseUnavailable(functionRetry, errTooManyForwards))
	}
	return s.callLinks(ctx, c, fields, most)
}

// callLinks makes one call of the links' function. A reply is a success in JSON; whatever else comes is a failure that may be shown.
func (s *Server) callLinks(ctx context.Context, c *apiCall, fields map[string]any, most time.Duration) (*FunctionReply, *failure) {
	var body []byte
	if fields != nil {
		body = encode(fields)
	}
	ctx, cancel := s.workContext(ctx)
	defer cancel(nil)
	bounded, release := context.WithTimeout(ctx, min(most, s.opts.FunctionTimeout))
	defer release()
	reply, err := s.opts.Functions.Call(bounded, forwardFunction, c.path, c.method, functionHeader(c.from.addr), body)
	if err != nil {
		return nil, fail(unavailable(ctx, err))
	}
	if isSuccess(reply.Status) && len(reply.Body) <= maxForwardBytes && json.Valid(reply.Body) {
		return reply, nil
	}
	return nil, s.functionFailure(reply)
}

// apart makes a call that goes on when the caller goes away. spawn starts it.
func apart(
	ctx context.Context, spawn func(func(context.Context)) bool, call func(context.Context) (*FunctionReply, *failure),
) (*FunctionReply, *failure) {
	type result struct {
		reply *FunctionReply
		f     *failure
	}
	results := make(chan result, 1)
	started := spawn(func(ctx context.Context) {
		reply, f := call(ctx)
		results <- result{reply, f}
	})
	if !started {
		return nil, fail(errStopped)
	}
	select {
	case got := <-results:
		return got.reply, got.f
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	}
}

// lineOf reads a single line of text; what is absent or null is "". most counts characters.
func (f fields) lineOf(name string, most int) (string, *chat.Refusal) {
	text, ref := f.textOf(name, most)
	if ref == nil && strings.ContainsFunc(text, unicode.IsControl) {
		ref = refuseBody(name + " contains control characters")
	}
	return text, ref
}

// textOf reads a text of any number of lines, which end as those of messages do.
func (f fields) textOf(name string, most int) (string, *chat.Refusal) {
	text, ok := f.text(name)
	text = newlines.Replace(text)
	switch {
	case !ok:
		return "", refuseBody(name + " must be a string")
	case utf8.RuneCountInString(text) > most:
		return "", refuseBody(fmt.Sprintf("%s is too long (maximum %d characters)", name, most))
	case strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || isForbidden(r) }):
		return "", refuseBody(name + " contains control characters")
	}
	return text, nil
}

// tokenOf reads a token and strips the white space that pages and mail programs add to it.
func (f fields) tokenOf(name string) (chat.Token, *chat.Refusal) {
	text, ok := f.text(name)
	if !ok {
		return "", refuseBody(name + " must be a string")
	}
	return chat.Token(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)), nil
}

// forwardValidateSession proves the session first, so that its link's restrictions are known and guesses stay here.
func (s *Server) forwardValidateSession(w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure) {
	_, g, f := s.sessionCall(w, r, c)
	if f != nil {
		return nil, sessionNotValid(f)
	}
	sent := s.sentBy(g.Visitor, "")
	reply, f := s.callAPI(r.Context(), c, map[string]any{"session_token": g.Token.Reveal()}, forwardTimeout)
	if f != nil {
		return nil, f
	}
	return withOwnCount(reply, sent), nil
}

// withOwnCount replaces the function's count of messages, which is the whole conversation's, by that of the session.
func withOwnCount(reply *FunctionReply, sent func() *int) *FunctionReply {
	const name = "current_messages"
	body, _ := parseFields(reply.Body)
	if _, given := body[name]; !given {
		return reply
	}
	delete(body, name)
	if n := sent(); n != nil {
		body[name] = encode(n)
	}
	own := *reply
	own.Body = encode(body)
	return &own
}

// sessionCall reads a call that brings a session token, and proves the session.
func (s *Server) sessionCall(w http.ResponseWriter, r *http.Request, c *apiCall) (fields, *chat.Grant, *failure) {
	in, ref := s.readFields(w, r, false)
	if ref != nil {
		return nil, nil, fail(ref)
	}
	token, ref := in.tokenOf("session_token")
	if ref != nil {
		return nil, nil, fail(ref)
	}
	if token == "" {
		return nil, nil, fail(refuseRequest(http.StatusBadRequest, "missing_token", "Missing session_token parameter"))
	}
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	g, err := s.authorize(ctx, c.from, chat.Credential{Token: token})
	if err != nil {
		return nil, nil, fail(causeOf(ctx, err))
	}
	return in, g, nil
}

// sessionNotValid says in the function's words that a session could not be proved.
func sessionNotValid(f *failure) *failure {
	fields := map[string]any{"valid": false}
	switch f.Status {
	case http.StatusUnauthorized:
		fields["reason"] = "Session not found"
	case http.StatusGone:
		ref := *chat.RefuseInvalid(f.Cause)
		f, fields["reason"] = &failure{Refusal: &ref}, "Session not valid"
	case http.StatusBadRequest, http.StatusForbidden:
	default:
		return f
	}
	return &failure{Refusal: f.Refusal, fields: fields}
}
