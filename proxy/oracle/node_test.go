package oracle_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// node is one proxy of the run, over its restarts.
type node struct {
	w    *world
	name string
	plan nodePlan
	log  *slog.Logger

	// up holds a token while the node is up; who takes it down has it until it is back.
	up   chan struct{}
	stop context.CancelFunc
	done chan error
}

func newNode(w *world, i int, plan nodePlan, log *journal) *node {
	n := &node{w: w, name: fmt.Sprintf("node%d.test", i), plan: plan, up: make(chan struct{}, 1)}
	n.log = slog.New(log.handler(n.name))
	return n
}

// start brings up a proxy with nothing in its memory.
func (n *node) start() {
	up := n.w.standin
	version := phoenix.V2
	if n.plan.Version == 1 {
		version = phoenix.V1
	}
	p, err := proxy.New(proxy.Options{
		Supabase: proxy.Supabase{
			URL: "http://" + supabaseHost, ServiceRoleKey: up.ServiceKey(), AnonKey: up.AnonKey(), RealtimeVersion: version,
			AuthorizePerSecond: 1000, Dial: n.w.network.dial(n.name),
		},
		Listener: n.w.network.listen(n.name), AdminListener: n.w.network.listen("admin." + n.name),
		Feed: proxy.FeedTiming{
			Heartbeat: n.plan.Heartbeat, SocketMaxAge: n.plan.SocketMaxAge, UnpublishedRetry: 15 * time.Second, CatchUpOverlap: n.plan.Overlap,
		},
		Resume: proxy.Resume{WindowEvents: n.plan.WindowEvents},
		Stream: proxy.Stream{MaxAge: n.plan.StreamMaxAge},
		Drain:  proxy.Drain{Period: 2 * time.Second, Max: 5 * time.Second},
		Limits: proxy.Limits{ConnectionsPerSession: 1000, ConnectionsPerAddress: 1000},
		Logger: n.log,
	})
	require.NoError(n.w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan error, 1)
	done := n.done
	go func() { done <- p.Run(ctx) }()
	n.up <- struct{}{}
}

// kill is a power cut: nothing is said to anybody.
func (n *node) kill() {
	n.w.network.takeDown(n.name)
	n.stop()
	<-n.done // what a proxy without a network thinks of its end does not matter
}

// drain is an orderly stop.
func (n *node) drain() {
	n.stop()
	if err := <-n.done; err != nil {
		n.w.t.Errorf("stop of %s: %v", n.name, err)
	}
	n.w.network.takeDown(n.name) // a program that has ended has no sockets
}

// restart takes the node down and brings it back after a while.
func (n *node) restart(down func(), away time.Duration) {
	<-n.up
	down()
	time.Sleep(away)
	n.start()
}
