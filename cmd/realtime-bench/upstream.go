package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// stamp stands before the time of its commit in the text of a row; see rowText.
const stamp = "committed at "

// upstream is the stand-in on a port of its own. It counts the questions about tokens.
type upstream struct {
	url     string
	standin *standin.Server
	fixture *standin.Fixture
	http    *http.Server
	served  chan struct{}

	mu              sync.Mutex
	sessions, links questions
	pooled          map[net.Conn]struct{} // connections of HTTP, also idle ones
}

func newUpstream(ctx context.Context) (*upstream, error) {
	server, err := standin.New(standin.Options{})
	if err != nil {
		return nil, fmt.Errorf("new stand-in: %w", err)
	}
	u := &upstream{standin: server, served: make(chan struct{}), pooled: make(map[net.Conn]struct{})}
	if u.fixture, err = server.Seed(); err != nil {
		server.Close()
		return nil, fmt.Errorf("seed the stand-in: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("listen for the stand-in: %w", err)
	}
	u.url = "http://" + l.Addr().String()
	u.http = &http.Server{Handler: http.HandlerFunc(u.serve), ConnState: u.note, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(u.served)
		_ = u.http.Serve(l) // ends with close
	}()
	return u, nil
}

func (u *upstream) close() {
	u.standin.Close()
	_ = u.http.Close() // the listener's error means nothing
	<-u.served
}

// note keeps account of connections. Those of Realtime are hijacked and count no more.
func (u *upstream) note(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(u.pooled, conn)
		return
	}
	u.pooled[conn] = struct{}{}
}

func (u *upstream) connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.pooled)
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/rpc/validate_temp_chat_session"):
		u.sessions = append(u.sessions, time.Now())
	case strings.HasSuffix(r.URL.Path, "/temporary-chat-api/validate"):
		u.links = append(u.links, time.Now())
	}
	u.mu.Unlock()
	u.standin.Handler().ServeHTTP(w, r)
}

// questions are when Supabase was asked about tokens.
type questions []time.Time

// between tells how many there were between two times: a second on average, and in the worst second.
func (q questions) between(from, to time.Time) (mean float64, most int) {
	var in questions
	for _, at := range q {
		if !at.Before(from) && at.Before(to) {
			in = append(in, at)
		}
	}
	first := 0
	for i, at := range in {
		for at.Sub(in[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return float64(len(in)) / to.Sub(from).Seconds(), most
}

// asked returns the questions so far.
func (u *upstream) asked() (sessions, links questions) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sessions, u.links
}

// place is a session with what its rows need.
type place struct {
	token                        string
	id, conversation, ownSession string
}

// sessionsPerLink is less than the 50 that a link may have.
const sessionsPerLink = 40

// open opens n sessions as a page does, past the proxy.
func (u *upstream) open(ctx context.Context, n int) ([]place, error) {
	places, link := make([]place, 0, n), ""
	for i := range n {
		p, err := u.session(ctx)
		if err == nil && i%sessionsPerLink == 0 {
			link, err = u.copyLink()
		}
		if err == nil { // makes room for the next on the link that all come by
			_, err = u.standin.DB().Update(standin.TableSessions, standin.Row{"id": p.id}, standin.Row{"link_id": link})
		}
		if err != nil {
			return nil, fmt.Errorf("open a session: %w", err)
		}
		places = append(places, p)
	}
	return places, nil
}

// copyLink makes a link like that of the fixture, by which nobody can come.
func (u *upstream) copyLink() (id string, err error) {
	row, ok := u.standin.DB().Row(standin.TableLinks, u.fixture.Isolated.ID)
	if !ok {
		return "", errors.New("the fixture has no link")
	}
	id = uuid.NewString()
	row["id"], row["vault_link_token_id"] = id, uuid.NewString()
	_, err = u.standin.DB().Insert(standin.TableLinks, row)
	return id, err
}

func (u *upstream) session(ctx context.Context) (place, error) {
	body := strings.NewReader(`{"link_token":` + strconv.Quote(u.fixture.Isolated.Token) + `}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url+"/functions/v1/temporary-chat-api/create-session", body)
	if err != nil {
		return place{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return place{}, err
	}
	defer resp.Body.Close()
	var created struct {
		Data struct {
			Session struct {
				ID             string `json:"id"`
				Token          string `json:"session_token"`
				ConversationID string `json:"conversation_id"`
			} `json:"session"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&created); err != nil || resp.StatusCode != http.StatusCreated {
		return place{}, fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	s := created.Data.Session
	row, ok := u.standin.DB().Row(standin.TableSessions, s.ID)
	if !ok {
		return place{}, fmt.Errorf("session %s has no row", s.ID)
	}
	return place{token: s.Token, id: s.ID, conversation: s.ConversationID, ownSession: row["conversation_session_id"].(string)}, nil
}

// commit stores a row that the session's visitor may see and whose text says when that was.
func (u *upstream) commit(p place) error {
	_, err := u.standin.DB().Insert(standin.TableMessages, standin.Row{
		"id": uuid.NewString(), "conversation_id": p.conversation, "session_id": p.ownSession, "role": "system",
		"content": map[string]any{"type": "text", "text": stamp + strconv.FormatInt(time.Now().UnixNano(), 10), "metadata": map[string]any{
			"temp_session_id": p.id, "is_anonymous_user": true, "original_role": "user", "temporary_chat": true,
		}},
	})
	return err
}
