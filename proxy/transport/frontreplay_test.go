package transport_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// recordedConversation is the one that the recordings ask for.
const recordedConversation = "11111111-1111-4111-8111-111111111111"

// recorded is one line of a recording.
type recorded struct {
	Dir   string `json:"dir"`
	Conn  string `json:"conn"`
	HTTP  string `json:"http"`
	Note  string `json:"note"`
	Frame string `json:"frame"`
	Bytes string `json:"frame_b64"`
	Ctrl  string `json:"control"`
}

func recording(t testing.TB, name string) (lines []recorded) {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "testdata", "realtime", name))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		var line recorded
		require.NoError(t, json.Unmarshal(scan.Bytes(), &line))
		lines = append(lines, line)
	}
	require.NotEmpty(t, lines)
	return lines
}

func (r *recorded) frame(t testing.TB) (kind int, data []byte) {
	t.Helper()
	if r.Bytes == "" {
		return websocket.TextMessage, []byte(r.Frame)
	}
	data, err := base64.StdEncoding.DecodeString(r.Bytes)
	require.NoError(t, err)
	return websocket.BinaryMessage, data
}

var bindingID = regexp.MustCompile(`"id":\d+`)

// normal makes frames comparable: binding ids are the server's own, and the real server sorts the keys that it echoes.
func normal(t testing.TB, m phoenix.Message) string {
	t.Helper()
	payload := m.Payload
	if m.Binary != nil {
		return fmt.Sprintf("%s %v %q %s %s", m.Topic, m.Binary.Kind, m.Binary.UserEvent, m.Binary.Meta, m.Binary.Payload)
	}
	var v any
	require.NoError(t, json.Unmarshal(payload, &v))
	sorted, err := json.Marshal(v)
	require.NoError(t, err)
	sorted = bindingID.ReplaceAll(sorted, []byte(`"id":1`))
	return fmt.Sprintf("%s %s %s %s %s", m.JoinRef, m.Ref, m.Topic, m.Event, sorted)
}

// replay plays the client's side of a recording and compares what comes back, topic by topic between two things that the client sends.
type replay struct {
	g     *rig
	base  string
	v     phoenix.Version
	peers map[string]*peer
	want  map[string][]string // by socket and topic
	count map[string]int      // by socket
	// compared counts frames.
	compared int
}

func (g *rig) replay(base string, v phoenix.Version, lines []recorded, instead map[string]string) {
	g.t.Helper()
	r := &replay{g: g, base: base, v: v, peers: make(map[string]*peer), want: make(map[string][]string), count: make(map[string]int)}
	for _, line := range lines {
		switch {
		case line.HTTP != "" || line.Ctrl != "" || line.Note != "":
		case line.Dir == "out":
			r.settle()
			kind, frame := line.frame(g.t)
			require.NoError(g.t, r.peer(line.Conn).conn.WriteMessage(kind, frame))
		case line.Dir == "in":
			r.expect(line, instead)
		}
	}
	r.settle()
	require.Positive(g.t, r.compared)
	for conn := range r.peers {
		c := &client{peer: r.peers[conn], version: v, refs: 1000}
		c.quiet()
	}
}

func (r *replay) peer(conn string) *peer {
	if r.peers[conn] == nil {
		r.peers[conn] = r.g.realtime(r.base, r.v).peer
	}
	return r.peers[conn]
}

// expect notes what the real server said. A refusal that lasts is followed by the end of the channel here, or clients try for ever.
func (r *replay) expect(line recorded, instead map[string]string) {
	t := r.g.t
	kind, frame := line.frame(t)
	m, err := phoenix.DecodeServer(kind == websocket.BinaryMessage, frame)
	require.NoError(t, err)
	if m.Event == phoenix.EventPresenceDiff || m.Event == phoenix.EventPostgresChanges {
		return // presence is not shared, and the rows of the recordings are not there
	}
	refusal, foreign := instead[m.Topic]
	if foreign && m.Event == phoenix.EventSystem {
		return
	}
	if foreign {
		m.Payload = json.RawMessage(`{"status":"error","response":{"reason":"Unauthorized: ` + refusal + `"}}`)
	}
	key := line.Conn + " " + m.Topic
	add := func(m phoenix.Message) {
		r.want[key] = append(r.want[key], normal(t, m))
		r.count[line.Conn]++
	}
	add(m)
	var p struct{ Response struct{ Reason string } }
	require.True(t, m.Binary != nil || json.Unmarshal(m.Payload, &p) == nil)
	if code, text, ok := strings.Cut(p.Response.Reason, ": "); ok && code != "ChannelRateLimitReached" {
		join := m.Ref
		joinRef := join
		if r.v == phoenix.V1 {
			joinRef = phoenix.Ref{}
		}
		system := phoenix.System(joinRef, m.Topic, phoenix.SystemPayload{
			Message: text, Status: "error", Extension: "system", Channel: strings.TrimPrefix(m.Topic, "realtime:"),
		})
		end := phoenix.Close(join, m.Topic)
		end.JoinRef = joinRef
		add(system)
		add(end)
	}
}

// settle reads as much as was expected.
func (r *replay) settle() {
	t := r.g.t
	got := make(map[string][]string)
	for conn, n := range r.count {
		for range n {
			c := client{peer: r.peers[conn], version: r.v}
			m := c.receive()
			key := conn + " " + m.Topic
			got[key] = append(got[key], normal(t, m))
			r.compared++
		}
	}
	require.Equal(t, r.want, got)
	clear(r.want)
	clear(r.count)
}

// inRecordedConversation moves the rig's visitors there.
func (g *rig) inRecordedConversation() {
	authorize := g.authorizer.authorize
	g.authorizer.authorize = func(ctx context.Context, c chat.Credential) (*chat.Grant, error) {
		grant, err := authorize(ctx, c)
		if err != nil {
			return nil, err
		}
		v := *grant.Visitor
		v.ConversationID = recordedConversation
		grant.Visitor = &v
		return grant, nil
	}
}

func TestClientsAreAnsweredAsByTheRealServer(t *testing.T) {
	const onlyMessages = "A chat session may not watch the table public.%s, only public.chat_messages_v2"
	foreign := map[string]string{
		"realtime:bad-table-not-existing":                  fmt.Sprintf(onlyMessages, "nope"),
		"realtime:bad-table-exists-but-not-in-publication": fmt.Sprintf(onlyMessages, "not_published"),
		"realtime:bad-good-and-bad-binding-together":       fmt.Sprintf(onlyMessages, "nope"),
	}
	for _, name := range []string{
		"01-basic", "06-bad-joins", "07-malformed-frames", "08-duplicate-join-leave", "10-broadcast-presence", "19-channel-limit",
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, v phoenix.Version) {
				g := newRig(t, func(o *transport.Options) { o.RefusalDelay, o.ConnectionsPerSession = soon, 10 })
				g.inRecordedConversation()
				file := fmt.Sprintf("%s-v%c.jsonl", name, v[0])
				lines := recording(t, file)
				if name == "10-broadcast-presence" { // the limit of presence calls is not kept
					for i := range lines {
						if strings.HasPrefix(lines[i].Note, "b socket closes") {
							lines = lines[:i]
							break
						}
					}
				}
				g.replay(g.serve(), v, lines, foreign)
			})
		})
	}
}
