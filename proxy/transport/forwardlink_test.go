package transport_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const (
	linkAnswer    = `{"success":true,"data":{"link":{"id":"link-1","title":"Pilot"}}}`
	createdAnswer = `{"success":true,"data":{"session":{"id":"session-1","session_token":"` + rigToken + `"}}}`
)

// fakeLinks is a transport.Links with one link.
type fakeLinks struct {
	mu                 sync.Mutex
	domains, addresses []string
	err                error
	asked              []string
}

func (l *fakeLinks) LinkLists(_ context.Context, id string) (domains, addresses []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, id)
	return l.domains, l.addresses, l.err
}

var _ transport.Links = (*fakeLinks)(nil)

// linkRig answers validate and create-session as the function does.
func linkRig(t *testing.T, l *fakeLinks) (*sendRig, *fakeEndings) {
	t.Helper()
	e := &fakeEndings{}
	g := newSendRig(t, 0, "", func(o *transport.Options) {
		o.Links, o.Endings, o.AllowedOrigins = l, e, []string{"*"}
	})
	g.functions.answer = func(_ context.Context, c functionCall) (*transport.FunctionReply, error) {
		if c.path == "validate" {
			return &transport.FunctionReply{Status: 200, Body: []byte(linkAnswer)}, nil
		}
		return &transport.FunctionReply{Status: 201, Body: []byte(createdAnswer)}, nil
	}
	return g, e
}

func (g *sendRig) paths() (paths []string) {
	for _, c := range g.functions.all() {
		paths = append(paths, c.path)
	}
	return paths
}

func openLink(g *sendRig, header ...string) int {
	return do(g.rig, "POST", apiPath+"/validate", `{"token":"`+rigLink+`"}`, header...).Code
}

func openSession(g *sendRig, header ...string) (status int, body string) {
	w := do(g.rig, "POST", apiPath+"/create-session", `{"link_token":"`+rigLink+`"}`, header...)
	return w.Code, w.Body.String()
}

func TestLinkIsShownOnlyWhereItMayBeUsed(t *testing.T) {
	l := &fakeLinks{domains: []string{"good.example"}}
	g, _ := linkRig(t, l)
	assert.Equal(t, 200, openLink(g, "Origin", "https://good.example"))
	w := do(g.rig, "POST", apiPath+"/validate", `{"token":"`+rigLink+`"}`, "Origin", "https://evil.example")
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.JSONEq(t, `{"success":false,"error":"This origin is not allowed","code":"origin_not_allowed"}`,
		withoutRequestID(t, w.Body.String()))
	l.domains, l.addresses = nil, []string{"198.51.100.0/24"}
	assert.Equal(t, http.StatusForbidden, openLink(g))
	l.err = chat.RefuseUnavailable(0, nil)
	assert.Equal(t, http.StatusServiceUnavailable, openLink(g))
	assert.Equal(t, []string{"link-1", "link-1", "link-1", "link-1"}, l.asked)
}

func TestSessionIsOpenedOnlyWhereItsLinkMayBeUsed(t *testing.T) {
	t.Run("after the page has asked for the link", func(t *testing.T) {
		l := &fakeLinks{}
		g, _ := linkRig(t, l)
		require.Equal(t, 200, openLink(g))
		status, body := openSession(g)
		require.Equal(t, 201, status)
		assert.Equal(t, createdAnswer, body)
		assert.Equal(t, []string{"validate", "create-session"}, g.paths())
		l.addresses = []string{"198.51.100.0/24"}
		status, body = openSession(g)
		assert.Equal(t, http.StatusForbidden, status)
		assert.JSONEq(t, `{"valid":false,"error":"This link may not be used from here","code":"address_not_allowed"}`, withoutRequestID(t, body))
		assert.Len(t, g.paths(), 2)
	})
	t.Run("without", func(t *testing.T) {
		g, _ := linkRig(t, &fakeLinks{domains: []string{"good.example"}})
		status, _ := openSession(g, "Origin", "https://evil.example")
		assert.Equal(t, http.StatusForbidden, status)
		assert.Equal(t, []string{"validate"}, g.paths(), "nothing was created")
		status, _ = openSession(g, "Origin", "https://good.example")
		assert.Equal(t, 201, status)
		assert.Equal(t, []string{"validate", "create-session"}, g.paths(), "the link is known by now")
	})
	t.Run("of a link that is not good", func(t *testing.T) {
		g, _ := linkRig(t, &fakeLinks{})
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return &transport.FunctionReply{Status: 404, Body: []byte(`{"success":false,"error":"Invalid or expired chat link"}`)}, nil
		}
		status, body := openSession(g)
		assert.Equal(t, 400, status)
		assert.JSONEq(t, `{"valid":false,"error":"Invalid chat link","code":"invalid_link"}`, withoutRequestID(t, body))
		assert.Equal(t, []string{"validate"}, g.paths())
	})
	t.Run("of a link that only its session names", func(t *testing.T) {
		g, e := linkRig(t, &fakeLinks{})
		answer := g.functions.answer
		g.functions.answer = func(ctx context.Context, c functionCall) (*transport.FunctionReply, error) {
			if c.path == "validate" {
				return &transport.FunctionReply{Status: 429, Body: []byte(`{"success":false,"error":"Maximum number of chat sessions reached"}`)}, nil
			}
			return answer(ctx, c)
		}
		status, _ := openSession(g)
		assert.Equal(t, 201, status, "the two functions may disagree about what is too many")
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: restricted(nil, []string{"198.51.100.0/24"}), Token: rigToken}, nil
		}
		status, _ = openSession(g)
		assert.Equal(t, http.StatusForbidden, status)
		assert.Equal(t, []transport.SessionEnd{{Status: "terminated", Reason: "terminated"}}, e.ended)
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return nil, chat.RefuseUnavailable(0, nil)
		}
		status, _ = openSession(g)
		assert.Equal(t, 201, status, "every use of the session is checked again")
		assert.NotContains(t, g.logs.String(), rigToken)
	})
}

func TestSessionTokenIsFoundWhereverPagesLookForIt(t *testing.T) {
	for _, body := range []string{createdAnswer, `{"session":{"session_token":"` + rigToken + `"}}`, `{"session_token":"` + rigToken + `"}`} {
		g, _ := linkRig(t, &fakeLinks{})
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: restricted([]string{"good.example"}, nil), Token: rigToken}, nil
		}
		g.functions.answer = func(_ context.Context, c functionCall) (*transport.FunctionReply, error) {
			if c.path == "validate" {
				return &transport.FunctionReply{Status: 200, Body: []byte(`{"success":true}`)}, nil
			}
			return &transport.FunctionReply{Status: 201, Body: []byte(body)}, nil
		}
		status, _ := openSession(g, "Origin", "https://evil.example")
		assert.Equal(t, http.StatusForbidden, status, strings.ReplaceAll(body, rigToken, "..."))
	}
}
