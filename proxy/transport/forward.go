package transport

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	forwardFunction = "temporary-chat-api"
	forwardTimeout  = 30 * time.Second
	// maxForwards bounds the forwarded calls that are under way.
	maxForwards = 200
	// maxForwardBytes bounds a function's answer.
	maxForwardBytes = 1 << 20
	// maxNumberBytes bounds the literal of a number that is sent on.
	maxNumberBytes = 24
)

// forwarding is one of the calls that are passed on to Supabase. Nothing else is.
type forwarding struct {
	body bool // has one, and so is no GET
	// secret says that the call brings a token, so failures count against the address.
	secret bool
	// metadata says that the body may hold a visitor's metadata.
	metadata bool
}

var forwardings = map[string]forwarding{
	"":                 {},
	"health":           {},
	"validate":         {body: true, secret: true},
	"validate-session": {body: true, secret: true},
	"create-session":   {body: true, secret: true, metadata: true},
	"end-session":      {body: true, secret: true},
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
	reply, err := s.forward(w, r, path, call)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if isSuccess(reply.Status) && len(reply.Body) <= maxForwardBytes && json.Valid(reply.Body) {
		s.answer(w, reply.Status, reply.Body)
		return
	}
	f := s.functionFailure(reply)
	if call.secret && (f.Status == http.StatusUnauthorized || f.Code == codeInvalidLink) {
		s.limits.failed(clientAddr(r, s.opts.TrustedProxies))
	}
	s.refuseWith(w, r, f)
}

func (s *Server) forward(w http.ResponseWriter, r *http.Request, path string, call forwarding) (*FunctionReply, error) {
	switch {
	case r.Method == http.MethodPost:
	case r.Method != http.MethodGet || call.body:
		allowed := "POST, OPTIONS"
		if !call.body {
			allowed = "GET, POST, OPTIONS"
		}
		return nil, refuseMethod(w, allowed)
	}
	addr := clientAddr(r, s.opts.TrustedProxies)
	if ref := s.limits.mayTry(addr); ref != nil && call.secret {
		return nil, ref
	}
	body, ref := s.forwardBody(w, r, call)
	if ref != nil {
		return nil, ref
	}
	select {
	case s.sends.forwards <- struct{}{}:
		defer func() { <-s.sends.forwards }()
	default:
		return nil, chat.RefuseUnavailable(functionRetry, errTooManyForwards)
	}
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	bounded, release := context.WithTimeout(ctx, min(forwardTimeout, s.opts.FunctionTimeout))
	defer release()
	reply, err := s.opts.Functions.Call(bounded, forwardFunction, path, r.Method, functionHeader(addr), body)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return reply, nil
}

// forwardBody writes the body anew from its plain values, so that nothing is read differently behind the proxy.
func (s *Server) forwardBody(w http.ResponseWriter, r *http.Request, call forwarding) ([]byte, *chat.Refusal) {
	if !call.body {
		_, ref := s.readBody(w, r)
		return nil, ref
	}
	given, ref := s.readFields(w, r, false)
	if ref != nil {
		return nil, ref
	}
	out := make(map[string]any, len(given))
	for name, raw := range given {
		value, ref := plainValue(raw)
		if ref != nil {
			return nil, ref
		}
		if value != nil {
			out[name] = value
		}
	}
	if raw, ok := given["metadata"]; ok && call.metadata {
		metadata, _, ref := checkMetadata(raw, "")
		if ref != nil {
			return nil, ref
		}
		out["metadata"] = metadata
	}
	return encode(out), nil
}

// plainValue returns a string, a number, a truth value or null as it is sent on; nil for an object or a list, which are not.
func plainValue(raw json.RawMessage) (any, *chat.Refusal) {
	switch raw[0] {
	case '{', '[':
		return nil, nil
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil || strings.ContainsRune(text, 0) {
			return nil, refuseBody("The request body holds an unusable text")
		}
		return text, nil
	}
	if len(raw) > maxNumberBytes {
		return nil, refuseBody("The request body holds an unusable number")
	}
	return raw, nil
}
