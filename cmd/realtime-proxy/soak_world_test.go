package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	soakNodes = 2
	// Half of the sessions have a conversation of their own, half share the owner's. Each has two pages.
	soakSessions = 24
	soakPages    = 2
	soakWriters  = 3
	// soakPollInterval is the time from a commit to its frame.
	soakPollInterval = 100 * time.Millisecond
)

// soakWorld is the stand-in on a port of its own, with two proxies, their visitors and the ledger.
type soakWorld struct {
	t         *testing.T
	standin   *standin.Server
	http      *http.Server
	fixture   *standin.Fixture
	sessions  []standin.FixtureSession
	elsewhere string // a conversation without a visitor
	ledger    *soakLedger
	nodes     []*soakNode
	visitors  []*soakVisitor

	mu   sync.Mutex
	ends map[int]sessionEnd // by session
}

// sessionEnd is how a session ended.
type sessionEnd struct {
	at    time.Time
	cause string // the fault in force, or calm
}

func newSoakWorld(t *testing.T, random *rand.Rand) *soakWorld {
	t.Helper()
	// The times of a real server on the same machine: it polls its log every 100 ms, and waits 2 s before it refuses a handshake.
	server, err := standin.New(standin.Options{
		PollInterval: soakPollInterval, SubscribeDelay: 5 * time.Millisecond, HandshakeBackoff: 2 * time.Second, JoinBackoff: 5 * time.Second,
	})
	require.NoError(t, err)
	w := &soakWorld{t: t, standin: server, ledger: &soakLedger{byID: make(map[string]*committed)}, ends: make(map[int]sessionEnd)}
	w.fixture, err = server.Seed()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.http = &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = w.http.Serve(listener) // ends with Close
	}()
	t.Cleanup(func() {
		server.Close()
		_ = w.http.Close() // the listener's error means nothing
		<-served
	})
	w.furnish(listener.Addr().String())
	w.invite(random)
	return w
}

// furnish makes the sessions and starts the nodes.
func (w *soakWorld) furnish(address string) {
	up := upstream{URL: "http://" + address, ServiceKey: w.standin.ServiceKey(), AnonKey: w.standin.AnonKey()}
	w.elsewhere = uuid.NewString()
	_, err := w.standin.DB().Insert(standin.TableConversationSessions, standin.Row{
		"conversation_id": w.elsewhere, "user_id": w.fixture.OwnerID, "agent_id": w.fixture.AgentID,
	})
	require.NoError(w.t, err)
	for i := range soakSessions {
		link := w.fixture.Isolated
		if i%2 == 1 {
			link = w.fixture.Contextual
		}
		w.sessions = append(w.sessions, w.open(up, link))
	}
	rows, err := w.standin.DB().Rows(standin.TableMessages, nil)
	require.NoError(w.t, err)
	for _, row := range rows { // greetings: there before any visitor
		for i := range w.sessions {
			if id := row["id"].(string); row["session_id"] == w.sessions[i].ConversationSessionID {
				w.ledger.byID[id] = &committed{id: id, session: i, text: "Hello! What did you think of the pilot?", created: row["created_at"].(time.Time)}
			}
		}
	}
	for i := range soakNodes {
		n := &soakNode{t: w.t, index: i, line: newLine(w.t, address), up: up}
		n.start()
		w.nodes = append(w.nodes, n)
	}
}

// open makes a session as a page does.
func (w *soakWorld) open(up upstream, link standin.FixtureLink) standin.FixtureSession {
	page := proxytest.Visitor{Base: up.URL, Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	reply, err := page.Post(w.t.Context(), "/functions/v1/temporary-chat-api/create-session", map[string]any{"link_token": link.Token})
	require.NoError(w.t, err)
	require.Equal(w.t, http.StatusCreated, reply.Status, reply.Body)
	created := reply.Body["data"].(map[string]any)["session"].(map[string]any)
	row, ok := w.standin.DB().Row(standin.TableSessions, created["id"].(string))
	require.True(w.t, ok)
	return standin.FixtureSession{
		ID: created["id"].(string), Token: created["session_token"].(string), LinkID: link.ID,
		ConversationID: created["conversation_id"].(string), ConversationSessionID: row["conversation_session_id"].(string),
	}
}

// invite makes the visitors: every transport, some that never leave and some that come and go.
func (w *soakWorld) invite(random *rand.Rand) {
	transports := []string{"sse", "websocket", "poll", "envelope", "sse", "websocket"}
	for i := range soakSessions * soakPages {
		w.visitors = append(w.visitors, &soakVisitor{
			w: w, index: i, session: i / soakPages, transport: transports[random.IntN(len(transports))], wanders: i%4 == 3,
			random: rand.New(rand.NewPCG(random.Uint64(), uint64(i))),
			http:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		})
	}
}

// end ends a session in the database, unless it is over.
func (w *soakWorld) end(session int, cause string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, over := w.ends[session]; over {
		return nil
	}
	db := w.standin.DB()
	w.ends[session] = sessionEnd{at: time.Now(), cause: cause}
	_, err := db.Update(standin.TableSessions, standin.Row{"id": w.sessions[session].ID},
		standin.Row{"status": "ended", "ended_at": db.Now(), "end_reason": "completed"})
	return err
}

func (w *soakWorld) ending(session int) (sessionEnd, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end, ok := w.ends[session]
	return end, ok
}

// healthy reports whether every node says that it is live, and is.
func (w *soakWorld) healthy() bool {
	for _, n := range w.nodes {
		if !n.healthy() {
			return false
		}
	}
	live := 0
	for _, sub := range w.standin.Subscriptions() {
		messages := slices.ContainsFunc(sub.Bindings, func(b standin.SubscribedBinding) bool { return b.Table == standin.TableMessages })
		if sub.Live && !sub.Deaf && messages {
			live++
		}
	}
	return live == len(w.nodes)
}

// busiest is the node with most visitors.
func (w *soakWorld) busiest() *soakNode {
	counts := make([]int, len(w.nodes))
	for _, v := range w.visitors {
		v.mu.Lock()
		if n := len(v.visits); n > 0 && v.over.IsZero() {
			counts[v.visits[n-1].node]++
		}
		v.mu.Unlock()
	}
	return w.nodes[slices.Index(counts, slices.Max(counts))]
}

// until waits for a condition; false means that it did not come about in time.
func until(ctx context.Context, most time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for !done() {
		if !pause(ctx, 50*time.Millisecond) {
			return done()
		}
	}
	return true
}

// firstRound connects every visitor once to every node, so that what a process allocates once is there.
func (w *soakWorld) firstRound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, n := range w.nodes {
		var round errgroup.Group
		round.SetLimit(8)
		for _, v := range w.visitors {
			round.Go(func() error {
				for {
					err := v.greet(ctx, n)
					if err == nil {
						return nil
					}
					if !pause(ctx, 200*time.Millisecond) {
						return fmt.Errorf("visitor %d, %s to node %d: %w", v.index, v.transport, n.index, err)
					}
				}
			})
		}
		if err := round.Wait(); err != nil {
			return err
		}
	}
	return nil
}
