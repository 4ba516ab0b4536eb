package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// jsUpstream is a stand-in of this process, with a link for 50 visitors, who are not greeted.
type jsUpstream struct {
	upstream
	standin *standin.Server
	fixture *standin.Fixture
}

func newJSUpstream(t *testing.T) *jsUpstream {
	t.Helper()
	s, err := standin.New(standin.Options{Relaxed: true})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		s.Close()
		server.Close()
	})
	fixture, err := s.Seed()
	require.NoError(t, err)
	_, err = s.DB().Update(standin.TableLinks, standin.Row{"id": fixture.Isolated.ID}, standin.Row{"send_initial_message": false})
	require.NoError(t, err)
	return &jsUpstream{upstream{server.URL, s.ServiceKey(), s.AnonKey()}, s, fixture}
}

// visitor opens a session with a conversation of its own.
func (u *jsUpstream) visitor() (v standin.FixtureSession, err error) {
	body, err := json.Marshal(map[string]string{"link_token": u.fixture.Isolated.Token})
	if err != nil {
		return v, err
	}
	resp, err := http.Post(u.URL+"/functions/v1/temporary-chat-api/create-session", "application/json", bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	var out struct {
		Data struct {
			Session struct {
				ID    string `json:"id"`
				Token string `json:"session_token"`
			} `json:"session"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return v, err
	}
	row, ok := u.standin.DB().Row(standin.TableSessions, out.Data.Session.ID)
	if !ok {
		return v, fmt.Errorf("create a session: status %d", resp.StatusCode)
	}
	text := func(column string) string { return fmt.Sprint(row[column]) }
	return standin.FixtureSession{ID: out.Data.Session.ID, Token: out.Data.Session.Token, LinkID: text("link_id"),
		ConversationID: text("conversation_id"), ConversationSessionID: text("conversation_session_id")}, nil
}

// row is one of the agent's for a visitor, or of the visitor's own.
func (u *jsUpstream) row(v standin.FixtureSession, own bool, text string) standin.Row {
	metadata := map[string]any{"temporary_chat": true, "temp_session_id": v.ID}
	row := standin.Row{"conversation_id": v.ConversationID, "session_id": v.ConversationSessionID, "role": "assistant",
		"sender_agent_id": u.fixture.AgentID, "content": map[string]any{"type": "text", "text": text, "metadata": metadata}}
	if own {
		metadata["original_role"], metadata["is_anonymous_user"] = "user", true
		row["role"], row["sender_agent_id"] = "system", nil
	}
	return row
}

// jsTarget is a server of the Realtime protocol that is spoken to: the stand-in, or the proxy in front of it.
type jsTarget struct {
	name    string
	up      *jsUpstream
	url     string
	proxied bool

	restart  func() // may fail the test
	restarts *gathering
}

// key is what a client of the target is made with for a visitor.
func (at *jsTarget) key(v standin.FixtureSession) string {
	if at.proxied {
		return v.Token
	}
	return at.up.ServiceKey
}

// tokens are two that do as well: for the proxy the session's token and a ticket.
func (at *jsTarget) tokens(v standin.FixtureSession) (token, next string, err error) {
	if !at.proxied {
		soon := time.Now().Add(time.Hour)
		token, err = at.up.standin.SignToken("service_role", soon)
		if err == nil {
			next, err = at.up.standin.SignToken("service_role", soon.Add(time.Hour))
		}
		return token, next, err
	}
	body, err := json.Marshal(map[string]string{"session_token": v.Token})
	if err != nil {
		return "", "", err
	}
	resp, err := http.Post(at.url+"/temporary-chat-ticket", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var out struct {
		Ticket string `json:"ticket"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Ticket == "" {
		return "", "", fmt.Errorf("get a ticket: status %d: %v", resp.StatusCode, err)
	}
	return v.Token, out.Ticket, nil
}

// gathering lets runs wait for something that happens once, when all of them want it.
type gathering struct {
	come chan struct{} // a value for each run that wants it
	over chan struct{} // closed when it has happened
}

func newGathering() *gathering {
	return &gathering{come: make(chan struct{}, 100), over: make(chan struct{})}
}

// join waits until it has happened.
func (g *gathering) join() error {
	g.come <- struct{}{}
	select {
	case <-g.over:
		return nil
	case <-time.After(time.Minute):
		return errors.New("the others did not come")
	}
}

// happen does it when n have come.
func (g *gathering) happen(t *testing.T, n int, do func()) {
	t.Helper()
	for range n {
		await(t, g.come)
	}
	do()
	close(g.over)
}
