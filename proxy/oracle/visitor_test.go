package oracle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

// entry is one event that a visitor received.
type entry struct {
	at      time.Duration
	conn    int    // index of the connection
	what    string // message, message_updated, message_deleted, or history
	message proxytest.Message
}

// told is what a stream said of the feed: live, catching_up or polling.
type told struct {
	at    time.Duration
	conn  int
	state string
}

// connection is one stream, or one poll, from its greeting on.
type connection struct {
	begun, opened, closed time.Duration // closed is 0 while it is open
	transport, node       string
	brought               bool // a cursor
	resumed               bool
	end                   string
}

// visitor is a page: it keeps a cursor and a log, and comes back.
type visitor struct {
	w       *world
	index   int
	name    string
	plan    visitorPlan
	journal *journal
	nodes   []*node
	http    *http.Transport
	wake    chan struct{} // one slot: stop staying away

	mu     sync.Mutex
	away   time.Duration // stays away until then
	cursor string
	log    []entry
	conns  []connection
	states []told
	over   time.Duration // when it learned that the session is over; 0 = not
	faults []string      // answers that a visitor should never get
}

func newVisitor(w *world, i int, plan visitorPlan, nodes []*node, j *journal) *visitor {
	v := &visitor{w: w, index: i, name: fmt.Sprintf("visitor%d.test", i), plan: plan, journal: j, nodes: nodes, wake: make(chan struct{}, 1)}
	v.http = &http.Transport{DialContext: w.network.dial(v.name), DisableKeepAlives: true}
	v.away = plan.Start
	return v
}

func (v *visitor) party() *party { return &v.w.parties[v.plan.Session] }

// errOver ends a visitor for good.
var errOver = errors.New("the session is over")

// run comes back again and again until the session is over or ctx ends.
func (v *visitor) run(ctx context.Context) {
	for turn := 0; ; turn++ {
		if !v.rest(ctx, v.plan.Waits[turn%len(v.plan.Waits)]) {
			return
		}
		n := v.nodes[v.plan.Nodes[turn%len(v.plan.Nodes)]%len(v.nodes)]
		transport := v.plan.Transports[turn%len(v.plan.Transports)]
		err := v.connect(ctx, n, transport)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOver) {
			v.mu.Lock()
			v.over = v.journal.now()
			v.mu.Unlock()
			v.journal.note("%s: over", v.name)
			return
		}
		if err != nil {
			v.journal.note("%s: %s to %s: %v", v.name, transport, n.name, err)
		}
	}
}

// rest waits before coming back: a moment, or for as long as the visitor is away.
func (v *visitor) rest(ctx context.Context, moment time.Duration) bool {
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	for {
		v.mu.Lock()
		left := v.away - v.journal.now()
		v.mu.Unlock()
		if left <= 0 {
			return true
		}
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		case <-v.wake:
		}
	}
}

// stayAway makes the next return wait; a time that is not positive calls the visitor back now.
func (v *visitor) stayAway(d time.Duration) {
	v.mu.Lock()
	v.away = v.journal.now() + d
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *visitor) connect(ctx context.Context, n *node, transport string) error {
	client := &proxytest.Visitor{
		Base: "http://" + n.name, Token: v.party().Token, Client: &http.Client{Transport: v.http}, Dialer: v.w.network.dial(v.name),
	}
	c := connection{begun: v.journal.now(), transport: transport, node: n.name, brought: v.cursor != ""}
	switch transport {
	case "sse", "envelope":
		return v.events(ctx, client, c)
	case "websocket":
		return v.socket(ctx, client, c)
	default:
		return v.polls(ctx, client, c)
	}
}

// open writes down a connection that has been greeted and returns its index.
func (v *visitor) open(c connection, greeting json.RawMessage) (int, error) {
	var said struct {
		Resumed   bool   `json:"resumed"`
		SessionID string `json:"session_id"`
	}
	if err := json.Unmarshal(greeting, &said); err != nil {
		return 0, fmt.Errorf("greeting: %w", err)
	}
	c.opened, c.resumed = v.journal.now(), said.Resumed
	v.mu.Lock()
	defer v.mu.Unlock()
	if said.SessionID != v.party().ID {
		v.faults = append(v.faults, "greeted as session "+said.SessionID)
	}
	v.conns = append(v.conns, c)
	return len(v.conns) - 1, nil
}

func (v *visitor) close(conn int, end error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.conns[conn].closed = v.journal.now()
	if end != nil {
		v.conns[conn].end = end.Error()
	}
}

// received writes down an event together with its cursor.
func (v *visitor) received(conn int, what string, raw []byte, cursor string) error {
	e := entry{at: v.journal.now(), conn: conn, what: what}
	if err := json.Unmarshal(raw, &e.message); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.log = append(v.log, e)
	if cursor != "" {
		v.cursor = cursor
	}
	return nil
}

// answered judges the status of a refusal.
func (v *visitor) answered(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusGone:
		return fmt.Errorf("%w: status %d", errOver, status)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
	default:
		v.mu.Lock()
		v.faults = append(v.faults, fmt.Sprintf("status %d at %v", status, v.journal.now()))
		v.mu.Unlock()
	}
	return fmt.Errorf("status %d", status)
}

// take deals with an event of a stream; conn is -1 before the greeting.
func (v *visitor) take(conn *int, c connection, kind string, body json.RawMessage, cursor string) error {
	switch kind {
	case "connected", "authenticated":
		i, err := v.open(c, body)
		if err != nil {
			return err
		}
		*conn = i
		v.mu.Lock()
		v.cursor = cursor
		v.mu.Unlock()
	case "message", "message_updated", "message_deleted":
		return v.received(*conn, kind, body, cursor)
	case "connection":
		return v.tell(*conn, body)
	case "session_ended":
		return errOver
	case "error":
		return fmt.Errorf("told %s", body)
	}
	return nil
}

func (v *visitor) tell(conn int, body json.RawMessage) error {
	s := told{at: v.journal.now(), conn: conn}
	var said struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return fmt.Errorf("connection: %w", err)
	}
	s.state = said.State
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states = append(v.states, s)
	return nil
}

func (v *visitor) events(ctx context.Context, client *proxytest.Visitor, c connection) (err error) {
	o := proxytest.EventsOptions{Cursor: v.cursor}
	if c.transport == "envelope" {
		o.Path = "/functions/v1/temporary-chat-events"
	}
	stream, err := client.Events(ctx, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	if stream.Status != http.StatusOK {
		return v.answered(stream.Status)
	}
	conn := -1
	defer func() {
		if conn >= 0 {
			v.close(conn, err)
		}
	}()
	for {
		ev, err := stream.Next()
		if err != nil {
			return err
		}
		kind, body := ev.Name, json.RawMessage(ev.Data)
		if c.transport == "envelope" {
			var envelope struct {
				Type string          `json:"type"`
				Data json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(body, &envelope); err != nil {
				return err
			}
			kind, body = envelope.Type, envelope.Data
		} else if kind == "" {
			kind = "message"
		}
		if err := v.take(&conn, c, kind, body, ev.ID); err != nil {
			return err
		}
	}
}

func (v *visitor) socket(ctx context.Context, client *proxytest.Visitor, c connection) (err error) {
	socket, err := client.Socket(ctx, v.cursor, 0)
	if err != nil {
		return err
	}
	defer socket.Close()
	conn := -1
	defer func() {
		if conn >= 0 {
			v.close(conn, err)
		}
	}()
	for {
		f, err := socket.Next(ctx)
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok && (closed.Code == 4401 || closed.Code == 4410) {
			return fmt.Errorf("%w: %w", errOver, err)
		}
		if err != nil {
			return err
		}
		body := f.Message
		switch f.Type {
		case "authenticated":
			body = f.Data
		case "connection":
			body = json.RawMessage(f.Raw)
		case "error":
			v.journal.note("%s: %s", v.name, f.Raw)
			continue // the close code says what to do
		case "session_ended":
			return errOver
		}
		if err := v.take(&conn, c, f.Type, body, f.Cursor); err != nil {
			return err
		}
	}
}

// polls asks again and again. Each answer is a connection of its own in the log.
func (v *visitor) polls(ctx context.Context, client *proxytest.Visitor, c connection) error {
	for {
		c.begun, c.brought = v.journal.now(), v.cursor != ""
		r, err := client.Poll(ctx, v.cursor, 0, v.plan.PollWait)
		if err != nil {
			return err
		}
		if r.Status != http.StatusOK {
			return v.answered(r.Status)
		}
		v.polled(c, r)
		if !v.rest(ctx, v.plan.PollEvery) {
			return ctx.Err()
		}
	}
}

func (v *visitor) polled(c connection, r *proxytest.PollReply) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.journal.now()
	c.opened, c.closed, c.resumed = now, now, r.Resumed
	v.conns = append(v.conns, c)
	conn, what := len(v.conns)-1, "message"
	if !c.brought {
		what = "history"
	}
	for _, m := range r.Messages {
		v.log = append(v.log, entry{now, conn, what, m})
	}
	for _, raw := range r.Updates {
		var u struct {
			Type    string            `json:"type"`
			Message proxytest.Message `json:"message"`
		}
		if err := json.Unmarshal(raw, &u); err != nil {
			v.faults = append(v.faults, "unreadable update: "+err.Error())
			continue
		}
		v.log = append(v.log, entry{now, conn, u.Type, u.Message})
	}
	v.cursor = r.Cursor
}
