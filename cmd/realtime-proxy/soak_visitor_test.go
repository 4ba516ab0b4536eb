package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

// errSoakOver ends a visit for good.
var errSoakOver = errors.New("the session is over")

// soakVisitor is a page: it keeps a cursor and a log, and comes back to either node.
type soakVisitor struct {
	w         *soakWorld
	index     int
	session   int
	transport string // sse, envelope, websocket or poll
	wanders   bool   // leaves now and then by itself
	random    *rand.Rand
	http      *http.Client
	cursor    string
	missed    bool // the last visit was ended by somebody else

	mu     sync.Mutex
	log    []soakEntry
	visits []visit
	states []stateSeen
	over   time.Time
	faults []string // answers that a visitor should never get
}

// soakEntry is a message that came.
type soakEntry struct {
	at      time.Time
	visit   int
	history bool // in the answer to a first poll
	message proxytest.Message
}

// visit is one stream, or one poll, from its greeting on.
type visit struct {
	begun, opened    time.Time
	closed           time.Time
	node             int
	poll             bool
	brought, resumed bool // a cursor, and its acceptance
	missed           bool // the visit before was not ended by the visitor
}

// stateSeen is what tells a visitor that something is wrong: a state other than live, or the end of the stream ("").
type stateSeen struct {
	at    time.Time
	node  int
	state string
}

// run comes back again and again until the session is over or ctx ends.
func (v *soakVisitor) run(ctx context.Context) {
	for {
		node := v.random.IntN(len(v.w.nodes))
		stay, leave := ctx, context.CancelFunc(func() {})
		if v.wanders {
			stay, leave = context.WithTimeout(ctx, time.Duration(2+v.random.IntN(8))*time.Second)
		}
		err := v.visit(stay, node)
		left := stay.Err() != nil
		leave()
		switch {
		case errors.Is(err, errSoakOver):
			v.mu.Lock()
			v.over = time.Now()
			v.mu.Unlock()
			return
		case ctx.Err() != nil:
			return
		}
		v.missed = !left
		if !pause(ctx, 50*time.Millisecond+time.Duration(v.random.IntN(250))*time.Millisecond) {
			return
		}
	}
}

func (v *soakVisitor) fault(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *soakVisitor) client(n *soakNode) *proxytest.Visitor {
	return &proxytest.Visitor{Base: n.base(), Token: v.w.sessions[v.session].Token, Client: v.http}
}

// greet connects once without a cursor and leaves after the greeting.
func (v *soakVisitor) greet(ctx context.Context, n *soakNode) error {
	if v.transport == "poll" {
		reply, err := v.client(n).Poll(ctx, "", 0, 0)
		if err == nil && reply.Status != http.StatusOK {
			err = fmt.Errorf("status %d", reply.Status)
		}
		return err
	}
	if v.transport == "websocket" {
		s, err := v.client(n).Socket(ctx, "", 0)
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Until(ctx, "authenticated")
		return err
	}
	s, err := v.client(n).Events(ctx, proxytest.EventsOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Status != http.StatusOK {
		return fmt.Errorf("status %d", s.Status)
	}
	_, err = s.Until("connected")
	return err
}

func (v *soakVisitor) visit(ctx context.Context, node int) error {
	c := visit{begun: time.Now(), node: node, brought: v.cursor != "", missed: v.missed}
	client := v.client(v.w.nodes[node])
	switch v.transport {
	case "poll":
		return v.polls(ctx, client, c)
	case "websocket":
		return v.socket(ctx, client, c)
	default:
		return v.events(ctx, client, c)
	}
}

// refused judges the status of a refusal.
func (v *soakVisitor) refused(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusGone:
		return errSoakOver
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
	default:
		v.fault("status %d", status)
	}
	return fmt.Errorf("status %d", status)
}

func (v *soakVisitor) events(ctx context.Context, client *proxytest.Visitor, c visit) error {
	o := proxytest.EventsOptions{Cursor: v.cursor}
	if v.transport == "envelope" {
		o.Path = "/functions/v1/temporary-chat-events"
	}
	stream, err := client.Events(ctx, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	if stream.Status != http.StatusOK {
		return v.refused(stream.Status)
	}
	at := -1
	defer v.close(&at)
	for {
		ev, err := stream.Next()
		if err != nil {
			return err
		}
		kind, body := ev.Name, json.RawMessage(ev.Data)
		if v.transport == "envelope" {
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
		if err := v.take(&at, c, kind, body, ev.ID); err != nil {
			return err
		}
	}
}

func (v *soakVisitor) socket(ctx context.Context, client *proxytest.Visitor, c visit) error {
	socket, err := client.Socket(ctx, v.cursor, 0)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, socket.Close)()
	at := -1
	defer v.close(&at)
	for {
		f, err := socket.Next(ctx)
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok && (closed.Code == 4401 || closed.Code == 4410) {
			return errSoakOver
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
			continue // the close code says what to do
		}
		if err := v.take(&at, c, f.Type, body, f.Cursor); err != nil {
			return err
		}
	}
}

// take deals with an event of a stream; at is the visit's index, -1 before the greeting.
func (v *soakVisitor) take(at *int, c visit, kind string, body json.RawMessage, cursor string) error {
	var said struct {
		Resumed   bool   `json:"resumed"`
		SessionID string `json:"session_id"`
		State     string `json:"state"`
	}
	var m proxytest.Message
	var err error
	switch kind {
	case "message":
		err = json.Unmarshal(body, &m)
	case "connected", "authenticated", "connection":
		err = json.Unmarshal(body, &said)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	switch kind {
	case "connected", "authenticated":
		if said.SessionID != v.w.sessions[v.session].ID {
			v.faults = append(v.faults, "greeted as session "+said.SessionID)
		}
		c.opened, c.resumed = now, said.Resumed
		v.visits = append(v.visits, c)
		*at = len(v.visits) - 1
	case "connection":
		if said.State != "live" {
			v.states = append(v.states, stateSeen{now, c.node, said.State})
		}
	case "message":
		v.log = append(v.log, soakEntry{at: now, visit: *at, message: m})
	case "message_updated", "message_deleted":
		v.faults = append(v.faults, kind+", and nothing was changed")
	case "session_ended":
		return errSoakOver
	case "error":
		return fmt.Errorf("told %s", body)
	}
	if cursor != "" {
		v.cursor = cursor
	}
	return nil
}

func (v *soakVisitor) close(at *int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if *at >= 0 {
		v.visits[*at].closed = time.Now()
		v.states = append(v.states, stateSeen{v.visits[*at].closed, v.visits[*at].node, ""})
	}
}
