package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

var rowNames = []string{"m01", "m02", "m03", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12", "m13"}

// granted is what each visitor may see of the rows m01 to m13, and how.
var granted = map[string]map[string]string{
	"S":       {"m01": "assistant", "m02": "user", "m03": "assistant", "m09": "assistant", "m10": "assistant", "m12": "assistant"},
	"S2":      {},
	"S-other": {"m06": "user"},
}

func sessions(f *standin.Fixture) map[string]standin.FixtureSession {
	return map[string]standin.FixtureSession{"S": f.Visitor, "S2": f.Shared, "S-other": f.SharedOther}
}

// seen turns messages into row names and roles, and stops at the visitor's sentinel.
type seen struct {
	t      *testing.T
	names  map[string]string // by id
	result map[string]string
	raw    []string
}

func (s *seen) add(m proxytest.Message, raw string) (end bool) {
	if strings.HasPrefix(m.Content, "sentinel") {
		return true
	}
	name, ok := s.names[m.ID]
	assert.True(s.t, ok, "unknown row %s", m.ID)
	assert.NotContains(s.t, s.result, name, "delivered twice")
	s.result[name] = m.Role
	s.raw = append(s.raw, raw)
	return false
}

func (s *seen) check(want map[string]string) {
	s.t.Helper()
	assert.Equal(s.t, want, s.result)
	for _, raw := range s.raw {
		for _, secret := range private {
			assert.NotContains(s.t, raw, secret)
		}
	}
}

func TestEachVisitorSeesTheRowsGrantedToThemAndNoOther(t *testing.T) {
	w := newWorld(t, standin.Options{Relaxed: true})
	n := w.start(nil)
	names := map[string]string{}
	for name, row := range w.fixture.Rows {
		names[row["id"].(string)] = name
	}
	newSeen := func(t *testing.T) *seen { return &seen{t: t, names: names, result: map[string]string{}} }

	type reader struct {
		visitor, transport string
		read               func(t *testing.T)
	}
	var live []reader
	for name, session := range sessions(w.fixture) {
		v := n.visitor(session)
		events := watch(t, w.ctx, v)
		socket := talk(t, w.ctx, v)
		first, err := v.Poll(w.ctx, "", 0, 0)
		require.NoError(t, err)
		require.Empty(t, first.Messages)
		live = append(live,
			reader{name, "SSE", func(t *testing.T) { readEvents(t, events, newSeen(t), granted[name]) }},
			reader{name, "WebSocket", func(t *testing.T) { readSocket(t, w.ctx, socket, newSeen(t), granted[name]) }},
			reader{name, "polling", func(t *testing.T) { readPolls(t, w.ctx, v, first.Cursor, newSeen(t), granted[name]) }},
		)
	}
	for _, name := range rowNames {
		w.insert(w.fixture.Rows[name])
	}
	for name, session := range sessions(w.fixture) {
		w.say(session, "sentinel of "+name)
	}
	for _, r := range live {
		t.Run(fmt.Sprintf("live/%s/%s", r.transport, r.visitor), r.read)
	}
	for name, session := range sessions(w.fixture) {
		v := n.visitor(session)
		t.Run("history/SSE/"+name, func(t *testing.T) {
			events, err := v.Events(w.ctx, proxytest.EventsOptions{History: 100})
			require.NoError(t, err)
			defer events.Close()
			readEvents(t, events, newSeen(t), granted[name])
		})
		t.Run("history/WebSocket/"+name, func(t *testing.T) {
			socket, err := v.Socket(w.ctx, "", 100)
			require.NoError(t, err)
			defer socket.Close()
			readSocket(t, w.ctx, socket, newSeen(t), granted[name])
		})
		t.Run("history/polling/"+name, func(t *testing.T) {
			readPolls(t, w.ctx, v, "", newSeen(t), granted[name])
		})
	}
}

func readEvents(t *testing.T, events *proxytest.Events, s *seen, want map[string]string) {
	for {
		ev, err := events.Until("")
		require.NoError(t, err)
		var m proxytest.Message
		require.NoError(t, json.Unmarshal([]byte(ev.Data), &m))
		if s.add(m, ev.Data) {
			break
		}
	}
	s.check(want)
}

func readSocket(t *testing.T, ctx context.Context, socket *proxytest.Socket, s *seen, want map[string]string) {
	for {
		f, err := socket.Until(ctx, "message")
		require.NoError(t, err)
		var m proxytest.Message
		require.NoError(t, json.Unmarshal(f.Message, &m))
		if s.add(m, f.Raw) {
			break
		}
	}
	s.check(want)
}

func readPolls(t *testing.T, ctx context.Context, v *proxytest.Visitor, cursor string, s *seen, want map[string]string) {
	for {
		reply, err := v.Poll(ctx, cursor, 0, 10)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, reply.Status)
		for _, m := range reply.Messages {
			if s.add(m, m.Content) {
				s.check(want)
				return
			}
		}
		cursor = reply.Cursor
	}
}

func TestEachVisitorIsReadBackTheRowsGrantedToThemAndNoOther(t *testing.T) {
	w := newWorld(t, standin.Options{Relaxed: true})
	first := w.start(nil)
	cursors := map[string]string{}
	for name, session := range sessions(w.fixture) {
		reply, err := first.visitor(session).Poll(w.ctx, "", 0, 0)
		require.NoError(t, err)
		cursors[name] = reply.Cursor
	}
	first.stop()
	names := map[string]string{}
	for _, name := range rowNames {
		names[w.insert(fresh(w.fixture.Rows[name]))] = name
	}
	for name, session := range sessions(w.fixture) {
		w.say(session, "sentinel of "+name)
	}
	second := w.start(nil)
	for name, session := range sessions(w.fixture) {
		v := second.visitor(session)
		newSeen := func(t *testing.T) *seen { return &seen{t: t, names: names, result: map[string]string{}} }
		t.Run("SSE/"+name, func(t *testing.T) {
			events, err := v.Events(w.ctx, proxytest.EventsOptions{Cursor: cursors[name]})
			require.NoError(t, err)
			defer events.Close()
			readEvents(t, events, newSeen(t), granted[name])
		})
		t.Run("WebSocket/"+name, func(t *testing.T) {
			socket, err := v.Socket(w.ctx, cursors[name], 0)
			require.NoError(t, err)
			defer socket.Close()
			readSocket(t, w.ctx, socket, newSeen(t), granted[name])
		})
		t.Run("polling/"+name, func(t *testing.T) {
			readPolls(t, w.ctx, v, cursors[name], newSeen(t), granted[name])
		})
	}
}

func TestConversationVisibilityShowsTheWholeConversationButNoForgery(t *testing.T) {
	w := newWorld(t, standin.Options{Relaxed: true})
	n := w.start(func(o *proxy.Options) { o.Rule = chat.Rule{Mode: chat.ModeConversation} })
	for _, name := range rowNames {
		w.insert(w.fixture.Rows[name])
	}
	for name, want := range map[string][]string{
		"S":  {"m01", "m02", "m03", "m09", "m10", "m12"},
		"S2": {"m05", "m06"}, "S-other": {"m05", "m06"},
	} {
		reply, err := n.visitor(sessions(w.fixture)[name]).Poll(w.ctx, "", 0, 0)
		require.NoError(t, err)
		var got []string
		for _, m := range reply.Messages {
			for rowName, row := range w.fixture.Rows {
				if row["id"] == m.ID {
					got = append(got, rowName)
				}
			}
		}
		assert.Equal(t, want, got, name)
	}
}
