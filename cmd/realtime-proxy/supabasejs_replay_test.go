package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

var update = flag.Bool("update", false, "rewrite testdata/e2e/golden")

const recordings = "../../testdata/realtime"

// The recordings that are replayed, with the channels whose bindings supabase-js can ask for as they are.
var replayed = []struct {
	recording string
	channels  []string
}{
	{"01-basic", []string{"chat"}},
	{"02-types", []string{"types"}},
	{"04-filters-bindings", []string{"eqA", "inBC", "multi"}},
}

// recordedChannel is a joined channel of a recording: its join, and all that the server sent to it.
type recordedChannel struct {
	name     string
	bindings json.RawMessage // as the join asked for them
	frames   []phoenix.Message
	changes  int
}

// readRecording picks channels out of a recording.
func readRecording(t *testing.T, name string, version phoenix.Version, topics []string) (found []*recordedChannel) {
	t.Helper()
	suffix := map[phoenix.Version]string{phoenix.V1: "-v1.jsonl", phoenix.V2: "-v2.jsonl"}[version]
	file, err := os.Open(filepath.Join(recordings, name+suffix))
	require.NoError(t, err)
	defer file.Close()
	for _, topic := range topics {
		found = append(found, &recordedChannel{name: topic})
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var l struct {
			Dir   string `json:"dir"`
			Frame string `json:"frame"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l))
		if l.Frame == "" {
			continue
		}
		for _, c := range found {
			c.take(t, version, l.Dir, l.Frame)
		}
	}
	require.NoError(t, lines.Err())
	return found
}

func (c *recordedChannel) take(t *testing.T, version phoenix.Version, dir, frame string) {
	t.Helper()
	m, err := phoenix.DecodeServer(false, []byte(frame))
	if dir == "out" {
		m, err = phoenix.DecodeClient(version, false, []byte(frame))
	}
	require.NoError(t, err)
	switch {
	case m.Topic != phoenix.TopicPrefix+c.name:
	case dir == "out" && m.Event == phoenix.EventJoin:
		require.Nil(t, c.bindings, "%s is joined twice", c.name)
		var join struct {
			Config struct {
				Bindings json.RawMessage `json:"postgres_changes"`
			} `json:"config"`
		}
		require.NoError(t, json.Unmarshal(m.Payload, &join))
		c.bindings = join.Config.Bindings
	case dir == "in" && m.Event == phoenix.EventPostgresChanges:
		var p struct {
			IDs []int `json:"ids"`
		}
		require.NoError(t, json.Unmarshal(m.Payload, &p))
		c.changes += len(p.IDs)
		c.frames = append(c.frames, m)
	case dir == "in" && (m.Event == phoenix.EventSystem || m.Event == phoenix.EventReply && len(c.frames) == 0):
		c.frames = append(c.frames, m)
	}
}

// replayServer plays the server's side of recordings to whoever connects.
type replayServer struct {
	version  phoenix.Version
	channels []*recordedChannel

	mu       sync.Mutex
	problems []string
}

func (s *replayServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // answered
	}
	defer conn.Close()
	if r.URL.Path != "/realtime/v1/websocket" || r.URL.Query().Get("vsn") != string(s.version) || r.URL.Query().Get("apikey") != "any" {
		s.complain("connected to " + r.URL.String())
	}
	for {
		kind, frame, err := conn.ReadMessage()
		if err != nil {
			return
		}
		m, err := phoenix.DecodeClient(s.version, kind == websocket.BinaryMessage, frame)
		if err != nil {
			s.complain(err.Error())
			return
		}
		for _, reply := range s.replies(m) {
			data, _, err := phoenix.EncodeServer(s.version, nil, reply)
			if err == nil {
				_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second)) // the write tells
				err = conn.WriteMessage(websocket.TextMessage, data)
			}
			if err != nil {
				s.complain(err.Error())
				return
			}
		}
	}
}

func (s *replayServer) complain(problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, problem)
}

// replies are what the recorded server sent, with the references of the client that asks now.
func (s *replayServer) replies(m phoenix.Message) (out []phoenix.Message) {
	switch m.Event {
	case phoenix.EventHeartbeat, phoenix.EventLeave:
		return []phoenix.Message{phoenix.Reply(m.JoinRef, m.Ref, m.Topic, phoenix.StatusOK, nil)}
	case phoenix.EventJoin:
	default:
		return nil
	}
	for _, c := range s.channels {
		if m.Topic != phoenix.TopicPrefix+c.name {
			continue
		}
		for _, frame := range c.frames {
			if frame.Event == phoenix.EventReply {
				frame.Ref = m.Ref
			}
			if !frame.JoinRef.IsNull() {
				frame.JoinRef = m.JoinRef
			}
			out = append(out, frame)
		}
		return out
	}
	s.complain("nobody recorded " + m.Topic)
	return nil
}

// replayInto plays the recordings to a client and gives the arguments of its callbacks, by channel and binding.
func replayInto(t *testing.T, c jsClient) map[string]map[int][]json.RawMessage {
	t.Helper()
	server := &replayServer{version: phoenix.V2}
	if c.pkg == oldJS {
		server.version = phoenix.V1
	}
	for _, r := range replayed {
		server.channels = append(server.channels, readRecording(t, r.recording, server.version, r.channels)...)
	}
	served := httptest.NewServer(server)
	defer served.Close()
	var channels []map[string]any
	for _, rec := range server.channels {
		require.NotZero(t, rec.changes, rec.name)
		channels = append(channels, map[string]any{"name": rec.name, "bindings": rec.bindings, "callbacks": rec.changes})
	}
	params := map[string]any{"url": served.URL, "key": "any", "channels": channels}
	notes, err := c.play("recordings, "+c.name, "replay", params, nil)
	require.NoError(t, err, "%+v", notes)
	found := map[string]map[int][]json.RawMessage{}
	for _, n := range notes {
		if n.Status != "" {
			assert.Equal(t, "SUBSCRIBED", n.Status, n.Error)
		}
		if n.Change == nil {
			continue
		}
		if found[n.Channel] == nil {
			found[n.Channel] = map[int][]json.RawMessage{}
		}
		found[n.Channel][n.Binding] = append(found[n.Channel][n.Binding], n.Change)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	assert.Empty(t, server.problems)
	return found
}

func goldenPath(pkg string) string { return filepath.Join(scripts, "golden", pkg+".json") }

// checkCallbacks compares what recorded frames make of the callbacks' arguments with what they always made of them.
func checkCallbacks(t *testing.T, c jsClient) {
	t.Helper()
	got, err := json.MarshalIndent(replayInto(t, c), "", " ")
	require.NoError(t, err)
	got = append(got, '\n')
	path := goldenPath(c.pkg)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "%s: the callbacks of %s were given\n%s", path, c.name, got)
}

// goldenChanges are the recorded arguments of the callback for a channel's first binding.
func goldenChanges(t *testing.T, pkg, channel string) []jsChange {
	t.Helper()
	raw, err := os.ReadFile(goldenPath(pkg))
	require.NoError(t, err)
	var all map[string]map[int][]jsChange
	require.NoError(t, json.Unmarshal(raw, &all))
	return all[channel][0]
}
