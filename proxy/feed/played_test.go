package feed_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// node is a feed whose messages sockets are played by the test.
type node struct {
	*feed.Feed
	mu      sync.Mutex
	sockets []*played // in the order of their making
}

// played is a socket: it opens nothing, and says what the test has it say.
type played struct {
	realtime.Handler
	channels []realtime.ChannelSpec
	pending  atomic.Int64 // of the heartbeat
	running  atomic.Bool
}

func (p *played) Run(ctx context.Context) error {
	p.running.Store(true)
	<-ctx.Done()
	p.running.Store(false)
	return nil
}

func (p *played) RTT() time.Duration              { return 0 }
func (p *played) HeartbeatPending() time.Duration { return time.Duration(p.pending.Load()) }

func (p *played) status(s realtime.State) { p.OnStatus(realtime.Status{State: s}) }

func (p *played) bring(r map[string]any) {
	p.OnChange(realtime.Change{
		Type: "INSERT", Table: "chat_messages_v2", Record: marshal(r), CommitTimestamp: time.Now().UTC().Format(time.RFC3339Nano),
	})
}

// socket returns the nth socket that was made, negative n from the end.
func (n *node) socket(i int) *played {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i < 0 {
		i += len(n.sockets)
	}
	return n.sockets[i]
}

// count counts the sockets that run, made all that ever were.
func (n *node) count() (running, made int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.sockets {
		if p.running.Load() {
			running++
		}
	}
	return running, len(n.sockets)
}

// newFeed makes a feed whose sockets are played.
func newFeed(t *testing.T, d *database, logs io.Writer, change ...func(*feed.Options)) *node {
	t.Helper()
	signer, err := chat.NewSigner([]byte("a key of the tests, long enough"))
	require.NoError(t, err)
	if logs == nil {
		logs = io.Discard
	}
	o := feed.Options{
		Store:    d,
		Hub:      chat.Options{Signer: signer, Epoch: uint64(time.Now().UnixNano())},
		Tables:   feed.Tables{Schema: "public", Messages: "chat_messages_v2", Sessions: "temporary_chat_sessions", Links: "temporary_chat_links"},
		Realtime: realtime.Options{URL: "http://upstream.test", Key: "sb_secret_test"},
		Logger:   slog.New(slog.NewTextHandler(logs, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	n := &node{}
	n.Feed, err = feed.New(o)
	require.NoError(t, err)
	n.PlaySockets(func(o realtime.Options) feed.Wire {
		n.mu.Lock()
		defer n.mu.Unlock()
		p := &played{Handler: o.Handler, channels: o.Channels}
		n.sockets = append(n.sockets, p)
		return p
	})
	return n
}

// live, lost and bring play the newest socket.
func live(n *node) { n.socket(-1).status(realtime.StateLive) }

func lost(n *node, err error) {
	n.socket(-1).OnStatus(realtime.Status{State: realtime.StateErrored, Err: err})
}

func bring(n *node, r map[string]any) { n.socket(-1).bring(r) }
