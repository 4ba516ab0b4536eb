package transport

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	maxParticipant     = 255 // characters of an identifier
	maxParticipantName = 100 // characters, as the table has it
)

// Links reads from where a link may be used; its errors are *chat.Refusal, or the context's.
type Links interface {
	LinkLists(ctx context.Context, linkID string) (domains, addresses []string, err error)
}

// forwardValidate passes the question on whether a link is good. The answer names the link, and so its restrictions are known before it
// is given out.
func (s *Server) forwardValidate(w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure) {
	in, ref := s.readFields(w, r, false)
	if ref != nil {
		return nil, fail(ref)
	}
	token, ref := in.tokenOf("token")
	switch {
	case ref != nil:
		return nil, fail(ref)
	case token == "":
		return nil, fail(refuseRequest(http.StatusBadRequest, "missing_parameters", "Missing token parameter"))
	case !token.WellFormed():
		if over := s.tries.fail(c.from.addr); over != nil {
			return nil, fail(over)
		}
		return nil, unsuccessful(refuseRequest(http.StatusNotFound, codeInvalidLink, "Invalid or expired chat link"))
	}
	reply, id, f := s.validateLink(r.Context(), c, token)
	if f != nil {
		return nil, f
	}
	if err := s.checkLinkID(r.Context(), c.from, id); err != nil {
		return nil, unsuccessful(asRefusal(err))
	}
	return reply, nil
}

func unsuccessful(ref *chat.Refusal) *failure {
	return &failure{Refusal: ref, fields: map[string]any{"success": false}}
}

// validateLink asks the function about a link and remembers which link it is.
func (s *Server) validateLink(ctx context.Context, c *apiCall, token chat.Token) (reply *FunctionReply, id string, f *failure) {
	ask := apiCall{path: "validate", method: http.MethodPost, from: c.from}
	reply, f = s.linkCall(ctx, &ask, token, map[string]any{"token": token.Reveal()})
	if f != nil {
		return nil, "", f
	}
	if id = linkIDOf(reply.Body); id != "" {
		s.links.put(token, id)
	}
	return reply, id, nil
}

func linkIDOf(body []byte) string {
	var answer struct {
		Data struct {
			Link struct {
				ID string `json:"id"`
			} `json:"link"`
		} `json:"data"`
	}
	_ = json.Unmarshal(body, &answer) // an answer of another form names no link
	return answer.Data.Link.ID
}

// checkLinkID applies the restrictions of a link; one without an id cannot be looked up.
func (s *Server) checkLinkID(ctx context.Context, from caller, id string) error {
	if s.opts.Links == nil || id == "" {
		return nil
	}
	ctx, cancel := s.workContext(ctx)
	defer cancel(nil)
	domains, addresses, err := s.opts.Links.LinkLists(ctx, id)
	if err != nil {
		return causeOf(ctx, err)
	}
	if ref := checkLists(from, domains, addresses); ref != nil {
		return ref
	}
	return nil
}

// forwardCreate opens a session on a link, if the link may be used from there.
func (s *Server) forwardCreate(w http.ResponseWriter, r *http.Request, c *apiCall) (*FunctionReply, *failure) {
	token, body, f := s.readCreate(w, r, c)
	if f != nil {
		return nil, f
	}
	known, err := s.mayCreate(r.Context(), c, token)
	if err != nil {
		return nil, notCreated(asRefusal(err))
	}
	reply, f := s.linkCall(r.Context(), c, token, body)
	if f != nil || known {
		return reply, f
	}
	if ref := s.checkCreated(r.Context(), c, reply); ref != nil {
		return nil, notCreated(ref)
	}
	return reply, nil
}

func notCreated(ref *chat.Refusal) *failure {
	return &failure{Refusal: ref, fields: map[string]any{"valid": false}}
}

// readCreate checks the body and writes it anew.
func (s *Server) readCreate(w http.ResponseWriter, r *http.Request, c *apiCall) (chat.Token, map[string]any, *failure) {
	in, ref := s.readFields(w, r, false)
	if ref != nil {
		return "", nil, fail(ref)
	}
	token, ref := in.tokenOf("link_token")
	switch {
	case ref != nil:
		return "", nil, fail(ref)
	case token == "":
		return "", nil, fail(refuseRequest(http.StatusBadRequest, "missing_parameters", "Missing link_token parameter"))
	case !token.WellFormed():
		if over := s.tries.fail(c.from.addr); over != nil {
			return "", nil, fail(over)
		}
		return "", nil, notCreated(refuseRequest(http.StatusBadRequest, codeInvalidLink, "Invalid chat link"))
	}
	body := map[string]any{"link_token": token.Reveal()}
	for name, most := range map[string]int{"participant_identifier": maxParticipant, "participant_name": maxParticipantName} {
		text, ref := in.lineOf(name, most)
		if ref != nil {
			return "", nil, fail(ref)
		}
		if text != "" {
			body[name] = text
		}
	}
	if raw, given := in["metadata"]; given {
		metadata, _, ref := checkMetadata(raw, "")
		if ref != nil {
			return "", nil, fail(ref)
		}
		body["metadata"] = metadata
	}
	return token, body, nil
}

// mayCreate applies the link's restrictions before anything is written. A link that was not asked about here before is asked about now;
// known is false where the function would not say which link it is.
func (s *Server) mayCreate(ctx context.Context, c *apiCall, token chat.Token) (known bool, err error) {
	if s.opts.Links == nil {
		return true, nil
	}
	id := s.links.get(token)
	if id == "" {
		var f *failure
		_, id, f = s.validateLink(ctx, c, token)
		switch {
		case f == nil:
		case f.Code == codeInvalidLink:
			return false, refuseRequest(http.StatusBadRequest, codeInvalidLink, "Invalid chat link")
		case f.unasked:
			return false, f.Refusal
		}
	}
	if id == "" {
		return false, nil
	}
	return true, s.checkLinkID(ctx, c.from, id)
}

// checkCreated applies the restrictions of a link that only its new session names, and ends the session that may not be. While they
// cannot be read the session stands: every use of it is checked again.
func (s *Server) checkCreated(ctx context.Context, c *apiCall, reply *FunctionReply) *chat.Refusal {
	token := sessionTokenOf(reply.Body)
	if token == "" {
		return nil
	}
	ctx, cancel := s.workContext(context.WithoutCancel(ctx))
	defer cancel(nil)
	g, err := s.opts.Authorizer.Authorize(ctx, chat.Credential{Token: token, Address: c.from.addr})
	if err != nil {
		s.log.Warn("restrictions of a new session not read", "err", asRefusal(err))
		return nil
	}
	ref := checkLists(c.from, g.Visitor.AllowedDomains, g.Visitor.AllowedIPs)
	if ref != nil && s.opts.Endings != nil {
		if _, _, err := s.opts.Endings.EndSession(ctx, g.Visitor, SessionEnd{Status: "terminated", Reason: "terminated"}); err != nil {
			s.log.Warn("session of a refused visitor not ended", "session_id", g.Visitor.SessionID, "err", err)
		}
	}
	return ref
}

// sessionTokenOf finds the token in each of the places in which pages look for the session.
func sessionTokenOf(body []byte) chat.Token {
	type session struct {
		Token string `json:"session_token"`
	}
	var answer struct {
		session
		Session session `json:"session"`
		Data    struct {
			Session session `json:"session"`
		} `json:"data"`
	}
	_ = json.Unmarshal(body, &answer) // an answer of another form names no session
	return chat.Token(either(answer.Data.Session.Token, either(answer.Session.Token, answer.Token)))
}
