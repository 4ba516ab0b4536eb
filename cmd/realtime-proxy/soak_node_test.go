package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakNode is one proxy: a process, or several one after the other.
type soakNode struct {
	t     *testing.T
	index int
	line  *line
	up    upstream
	child *child // of the driver's goroutine

	mu       sync.Mutex
	at       served
	live     bool // the feed's state
	unread   bool // reads fail
	signs    []sign
	listened chan served // of the start under way
	lived    chan struct{}
}

// sign is a line of the log that shows that the proxy has noticed something.
type sign struct {
	at   time.Time
	what string
}

// signs of the log, by message.
var signMessages = []string{
	"socket lost", "channel failed", "the messages channel is not believed", "database reads fail", "table is not published: its endings take up to 15 s",
	"sessions not confirmed", "draining",
}

// start runs a process until its feed is live.
func (n *soakNode) start() {
	n.t.Helper()
	cmd := exec.Command(binary, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json")
	cmd.Dir = n.t.TempDir()
	cmd.Env = environ("SUPABASE_URL="+n.line.url(), "SUPABASE_SERVICE_ROLE_KEY="+n.up.ServiceKey, "SUPABASE_ANON_KEY="+n.up.AnonKey,
		"PROXY_LIMITS_CONNECTIONS_PER_ADDRESS=1000", "PROXY_DRAIN_PERIOD=1s", "PROXY_DRAIN_MAX=5s")
	listened, lived := make(chan served, 1), make(chan struct{}, 1)
	n.mu.Lock()
	n.live, n.unread, n.listened, n.lived = false, false, listened, lived
	n.mu.Unlock()
	n.child = spawn(n.t, cmd, n.read)
	await(n.t, listened)
	await(n.t, lived)
}

// read takes a line of the log.
func (n *soakNode) read(text string) {
	var l struct {
		served
		Time  time.Time `json:"time"`
		State string    `json:"state"`
	}
	if json.Unmarshal([]byte(text), &l) != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch l.Message {
	case "serving":
		n.at = l.served
		offer(n.listened, l.served)
	case "feed state":
		n.live = l.State == "live"
		if n.live {
			offer(n.lived, struct{}{})
		} else {
			n.signs = append(n.signs, sign{l.Time, "feed state " + l.State})
		}
	case "database reads fail":
		n.unread = true
	case "database reads work again":
		n.unread = false
	}
	if slices.Contains(signMessages, l.Message) {
		n.signs = append(n.signs, sign{l.Time, l.Message})
	}
}

func offer[T any](to chan T, v T) {
	select {
	case to <- v:
	default:
	}
}

func (n *soakNode) base() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "http://" + n.at.Listen
}

func (n *soakNode) healthy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live && !n.unread
}

// noticed returns the first sign between two times whose text begins so.
func (n *soakNode) noticed(from, to time.Time, prefix string) (time.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.signs {
		if !s.at.Before(from) && s.at.Before(to) && strings.HasPrefix(s.what, prefix) {
			return s.at, true
		}
	}
	return time.Time{}, false
}

// kill ends the process as kill -9 does.
func (n *soakNode) kill() {
	require.NoError(n.t, n.child.cmd.Process.Kill())
	_, err := n.child.cmd.Process.Wait()
	require.NoError(n.t, err)
}

// footprint is what a process holds.
type footprint struct{ Goroutines, FDs int }

// footprint asks the admin port.
func (n *soakNode) footprint(ctx context.Context) (footprint, error) {
	m, err := n.metrics(ctx, "go_goroutines", "process_open_fds")
	return footprint{int(m["go_goroutines"]), int(m["process_open_fds"])}, err
}

func (n *soakNode) metrics(ctx context.Context, names ...string) (map[string]float64, error) {
	n.mu.Lock()
	admin := n.at.Admin
	n.mu.Unlock()
	values, err := metricsOf(ctx, admin, names...)
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", n.index, err)
	}
	return values, nil
}
