package transport

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// maxBatch bounds the messages of one request.
const maxBatch = 100

// postMessage is one message of a request. Topics have no prefix here.
type postMessage struct {
	Topic   string          `json:"topic"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload"`
	Private bool            `json:"private"`
}

// handleBroadcasts serves the batch endpoint.
func (s *Server) handleBroadcasts(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Messages []postMessage `json:"messages"`
	}
	s.post(w, r, func(body []byte) (list []postMessage, status int) {
		if checkEncoding(r.Header) != nil {
			return nil, http.StatusUnsupportedMediaType
		}
		if !utf8.Valid(body) || json.Unmarshal(body, &in) != nil || len(in.Messages) == 0 || len(in.Messages) > maxBatch {
			return nil, http.StatusUnprocessableEntity
		}
		for _, m := range in.Messages {
			if m.Topic == "" || m.Event == "" || len(m.Payload) == 0 {
				return nil, http.StatusUnprocessableEntity
			}
		}
		return in.Messages, http.StatusAccepted
	}, func(m postMessage) *frontBroadcast { return textBroadcast(m.Event, m.Payload) })
}

// handleBroadcast serves the endpoint for one message, JSON or bytes.
func (s *Server) handleBroadcast(w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	binary := kind == "application/octet-stream"
	s.post(w, r, func(body []byte) (list []postMessage, status int) {
		switch {
		case !binary && checkEncoding(r.Header) != nil:
			return nil, http.StatusUnsupportedMediaType
		case !binary && !(utf8.Valid(body) && json.Valid(body)): // text frames are cut by browsers where they are not UTF-8
			return nil, http.StatusUnprocessableEntity
		}
		return []postMessage{{
			Topic: r.PathValue("topic"), Event: r.PathValue("event"), Payload: body,
			Private: r.URL.Query().Get("private") == "true",
		}}, http.StatusAccepted
	}, func(m postMessage) *frontBroadcast {
		return &frontBroadcast{event: m.Event, payload: m.Payload, json: !binary}
	})
}

// post authorises a request, reads its messages and passes them on to the channels that the session may reach. The answers are the
// real server's.
func (s *Server) post(
	w http.ResponseWriter, r *http.Request,
	read func(body []byte) ([]postMessage, int), broadcast func(postMessage) *frontBroadcast,
) {
	if r.Method != http.MethodPost {
		s.refuse(w, r, refuseMethod(w, "POST, OPTIONS"))
		return
	}
	body, tooBig := s.readBody(w, r)
	if tooBig != nil {
		s.refusePost(w, r, tooBig)
		return
	}
	g, err := s.authorizePost(r)
	if err != nil {
		s.refusePost(w, r, asRefusal(err))
		return
	}
	list, status := read(body)
	if list == nil {
		s.metrics.refused(status)
		s.answer(w, status, encode(map[string]any{"errors": map[string][]string{"messages": {"is invalid"}}}))
		return
	}
	if !s.front.posts.take(g.Visitor.SessionID, len(list), s.opts.BroadcastsPerSecond, time.Now()) {
		s.refusePost(w, r, s.limits.refuse(limitCasts, "rate_limit", "You have exceeded your rate limit", time.Second))
		return
	}
	class := s.opts.Hub.ClassKey(g.Visitor)
	for _, m := range list {
		s.front.rooms.send(roomKey{class, phoenix.TopicPrefix + m.Topic, m.Private}, broadcast(m), nil)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.boundWrite(w)
	w.WriteHeader(http.StatusAccepted)
}

// authorizePost takes the session of the bearer value, or of the key: a page sends the project's key where it has nothing better.
func (s *Server) authorizePost(r *http.Request) (*chat.Grant, error) {
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	from := s.callerOf(r)
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	keys := []frontKey{s.classify(token), s.classify(r.Header.Get("apikey"))}
	for _, key := range keys {
		if key.kind == frontKeyService {
			s.warnOfServiceKey(from)
			return nil, chat.RefuseInvalid(nil)
		}
	}
	for _, key := range keys {
		if key.kind == frontKeySession {
			g, err := s.authorize(ctx, from, key.asCredential(s.front.past.vouch(key.credential)))
			return g, causeOf(ctx, err)
		}
	}
	return nil, chat.RefuseInvalid(nil)
}

// refusePost answers in the form of the real server's API: 403 for whoever may not send.
func (s *Server) refusePost(w http.ResponseWriter, r *http.Request, ref *chat.Refusal) {
	s.logRefusal(r.Context(), ref, r)
	status, message := ref.Status, ref.Message
	switch status {
	case http.StatusUnauthorized, http.StatusGone:
		status = http.StatusForbidden
	}
	s.metrics.refused(status)
	if seconds := retrySeconds(ref.RetryAfter); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	s.answer(w, status, encode(map[string]string{"message": message}))
}
