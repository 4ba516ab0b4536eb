package transport_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestBadFramesOfRealtimeClients(t *testing.T) {
	text, binary := websocket.TextMessage, websocket.BinaryMessage
	type frame struct {
		kind int
		data string
	}
	many := make([]frame, 0, 60)
	for i := range 60 {
		many = append(many, frame{text, fmt.Sprintf(`[null,"%d","phoenix","heartbeat",{}]`, i)})
	}
	tests := []struct {
		name   string
		frames []frame
		code   int // 0: the socket lives
	}{
		{"garbage", []frame{{binary, "\xff\x00\x01garbage"}, {binary, ""}, {binary, "\x03"}, {binary, strings.Repeat("\xff", 5000)}}, 0},
		{"binary push of an event", []frame{{binary, "\x00\x01\x01\x0d\x08" + "11realtime:chatphx_join{}"}}, 0},
		{"not UTF-8", []frame{{binary, "\x03\x01\x01\x02\x01\x00\x01" + "11\xff\xfex{}"}}, 0},
		{"deep", []frame{{text, strings.Repeat("[", 60_000)}}, 0},
		{"join of anything", []frame{{text, `["1","1","realtime:x","phx_join",[1,2,3]]`}, {text, `["1","1","realtime:y","phx_join",null]`}}, 0},
		{"odd config", []frame{{text, `["1","1","realtime:x","phx_join",{"config":[1],"access_token":{}}]`}}, 0},
		{"no topic", []frame{{text, `["1","1","","phx_join",{}]`}, {text, `["1","1","phoenix","phx_join",{}]`}}, 0},
		{"5 MB", []frame{{text, `["1","1","realtime:x","phx_join",{"x":"` + strings.Repeat("x", 5_000_000) + `"}]`}}, websocket.CloseMessageTooBig},
		{"64 KiB and a byte", []frame{{text, strings.Repeat(" ", 64<<10+1)}}, websocket.CloseMessageTooBig},
		{"too many", many, websocket.CloseGoingAway},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(o *transport.Options) { o.FramesPerSecond = 20 })
			c := g.realtime(g.serve(), phoenix.V2)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for _, f := range tt.frames {
					_ = c.conn.WriteMessage(f.kind, []byte(f.data)) // the server may hang up first
				}
			}()
			if tt.code != 0 {
				code, reason, _ := c.closed()
				assert.Equal(t, tt.code, code)
				assert.NotEmpty(t, reason)
			} else {
				<-sent
				ref := c.push("", phoenix.TopicPhoenix, phoenix.EventHeartbeat, "{}")
				for m := c.receive(); m.Topic != phoenix.TopicPhoenix || m.Ref.String() != ref; m = c.receive() {
					require.NotEmpty(t, m.Payload)
				}
			}
			<-sent
			require.NoError(t, c.conn.Close())
		})
	}
}

func TestTooMuchOfAJoinIsRefused(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.RefusalDelay = soon })
	c := g.realtime(g.serve(), phoenix.V2)
	bindings := make([]string, 101)
	for i := range bindings {
		bindings[i] = frontBinding
	}
	c.join(frontTopic, bindings...)
	assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), "TooManyBindings: A channel may have at most 100 bindings")
	c.closedFor(frontTopic)
	c.live(frontTopic, bindings[1:]...)
	long := "realtime:" + strings.Repeat("x", 250)
	c.join(long, frontBinding)
	assert.Contains(t, c.expect(long, phoenix.EventReply), "TopicNameTooLong")
	for i := range 99 {
		c.live(fmt.Sprintf("realtime:%d", i))
	}
	c.join("realtime:one-more", frontBinding)
	assert.Contains(t, c.expect("realtime:one-more", phoenix.EventReply), "ChannelRateLimitReached: Too many channels")
	c.quiet()
}

func FuzzRealtimeFrame(f *testing.F) {
	for _, v := range []string{"1", "2"} {
		for _, name := range []string{"06-bad-joins", "07-malformed-frames", "10-broadcast-presence"} {
			for _, line := range recording(f, name+"-v"+v+".jsonl") {
				if line.Dir == "out" && (line.Frame != "" || line.Bytes != "") {
					kind, data := line.frame(f)
					f.Add(v == "2", kind == websocket.BinaryMessage, data)
				}
			}
		}
	}
	g := newRig(f, func(o *transport.Options) {
		o.RefusalDelay, o.ConnectionsPerSession, o.ConnectionsPerAddress = 1, 1<<20, 1<<20
	})
	base := g.serve()
	f.Fuzz(func(t *testing.T, second, binary bool, data []byte) {
		v, kind := phoenix.V1, websocket.TextMessage
		if second {
			v = phoenix.V2
		}
		if binary {
			kind = websocket.BinaryMessage
		}
		g.t = t
		c := g.realtime(base, v)
		c.refs = 1 << 20
		require.NoError(t, c.conn.WriteMessage(kind, data))
		ref := c.push("", phoenix.TopicPhoenix, phoenix.EventHeartbeat, "{}")
		for m := c.receive(); m.Topic != phoenix.TopicPhoenix || m.Ref.String() != ref; m = c.receive() {
			require.False(t, bytes.Contains(m.Payload, []byte(rigToken)))
		}
		require.NoError(t, c.conn.Close())
	})
}
