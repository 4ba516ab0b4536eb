package feed

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// The states of a feed, as visitors are told them.
const (
	StateLive       = "live"
	StateCatchingUp = "catching_up"
	StatePolling    = "polling"
)

// Feed brings the rows of watched conversations from Supabase into the hub. See the package comment.
type Feed struct {
	// fixed after New
	opts    Options
	log     *slog.Logger
	hub     *chat.Hub
	newWire func(realtime.Options) (wire, error)
	control *control // nil without one
	metrics *metrics
	repairs chan repair
	joins   chan *joinRead
	wake    chan struct{} // one slot: the loop has something to look at

	canary  *canary // nil without one
	scope   *scopeQueue
	gaps    *idSet
	missing *missingRows
	health  health

	// Set by the loop.
	state   atomic.Pointer[string]
	current atomic.Pointer[socket] // of the messages way; set by New first, then under arriving
	// arriving is held while a change goes into the hub.
	arriving sync.Mutex
	doubted  atomic.Bool  // the channel is subscribed but not believed
	liveAt   atomic.Int64 // since when the channel is live, database's clock in microseconds since 1970; 0 while it is not
}

// New checks the options and makes the hub. Nothing runs before Run.
func New(o Options) (*Feed, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	f := &Feed{
		opts:    o,
		log:     o.Logger.With("component", "feed"),
		newWire: newClient,
		metrics: newMetrics(o.Registerer),
		repairs: make(chan repair, maxRepairs),
		joins:   make(chan *joinRead),
		wake:    make(chan struct{}, 1),
		scope:   newScopeQueue(),
		gaps:    newIDSet(),
		missing: newMissingRows(),
	}
	f.canary = f.newCanary()
	starting := StateCatchingUp
	f.state.Store(&starting)
	o.Hub.OnScopeNeeded = f.scope.add
	o.Hub.OnGap = f.gaps.add
	o.Hub.Now = o.Store.Now
	var err error
	if f.hub, err = chat.NewHub(o.Hub); err != nil {
		return nil, err
	}
	first, err := f.newSocket()
	if err != nil {
		return nil, fmt.Errorf("new feed: %w", err)
	}
	f.current.Store(first)
	if o.Control != nil {
		if f.control, err = f.newControl(); err != nil {
			return nil, fmt.Errorf("new feed: %w", err)
		}
	}
	return f, nil
}

// Hub returns the hub that the feed fills.
func (f *Feed) Hub() *chat.Hub { return f.hub }

// State is live, catching_up or polling.
func (f *Feed) State() string { return *f.state.Load() }

// RTT is the last heartbeat round trip of the messages socket; 0 before the first.
func (f *Feed) RTT() time.Duration { return f.current.Load().wire.RTT() }

// Run keeps the feed going until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if f.control != nil {
		g.Go(func() error { return f.control.run(ctx) })
	}
	g.Go(func() error { f.runAll(ctx); return nil })
	return g.Wait()
}

// runAll runs everything but the control sockets.
func (f *Feed) runAll(ctx context.Context) {
	var wg sync.WaitGroup
	runs := []func(context.Context){f.loop, f.fillGaps, f.refreshScopes, f.repairRows, f.readForJoins}
	if f.canary != nil {
		runs = append(runs, f.canary.run)
	}
	for _, run := range runs {
		wg.Go(func() { run(ctx) })
	}
	wg.Wait()
}

func (f *Feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Feed) setState(state string) {
	if old := f.state.Swap(&state); *old != state {
		f.log.Info("feed state", "state", state)
		f.metrics.state(state)
		f.opts.OnState(state)
	}
}
