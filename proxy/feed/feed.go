package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	opts     Options
	log      *slog.Logger
	hub      *chat.Hub
	messages *realtime.Client
	control  *realtime.Client
	metrics  *metrics
	repairs  chan repair
	joins    chan *joinRead

	state atomic.Pointer[string]
	// live says that the messages channel is subscribed; wake tells the loop that it changed, or that a catch-up is owed.
	live    atomic.Bool
	entered atomic.Uint64 // how often live was confirmed
	wake    chan struct{}

	scope   *scopeQueue
	gaps    *idSet
	missing *missingRows

	storeMu   sync.Mutex
	storeErr  error  // of the last read; nil when it worked
	explained string // what a person was last told to do; owned by the messages socket
}

// New checks the options and makes the hub. Nothing runs before Run.
func New(o Options) (*Feed, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	f := &Feed{
		opts:    o,
		log:     o.Logger.With("component", "feed"),
		metrics: newMetrics(o.Registerer),
		repairs: make(chan repair, maxRepairs),
		joins:   make(chan *joinRead),
		wake:    make(chan struct{}, 1),
		scope:   newScopeQueue(),
		gaps:    newIDSet(),
		missing: newMissingRows(),
	}
	starting := StateCatchingUp
	f.state.Store(&starting)
	o.Hub.OnScopeNeeded = f.scope.add
	o.Hub.OnGap = func(id string) { f.gaps.add(id); f.signal() }
	o.Hub.Now = o.Store.Now
	var err error
	if f.hub, err = chat.NewHub(o.Hub); err != nil {
		return nil, err
	}
	if f.messages, err = f.newMessagesClient(); err != nil {
		return nil, fmt.Errorf("new feed: %w", err)
	}
	if o.Control != nil {
		if f.control, err = f.newControlClient(); err != nil {
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
func (f *Feed) RTT() time.Duration { return f.messages.RTT() }

// Run keeps the feed going until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.messages.Run(ctx) })
	if f.control != nil {
		g.Go(func() error { return f.control.Run(ctx) })
	}
	g.Go(func() error { f.runReads(ctx); return nil })
	return g.Wait()
}

// runReads runs everything but the sockets.
func (f *Feed) runReads(ctx context.Context) {
	var wg sync.WaitGroup
	for _, run := range []func(context.Context){f.loop, f.refreshScopes, f.repairRows, f.readForJoins} {
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

// Ready returns nil when visitors can be served: rows arrive or can be read.
func (f *Feed) Ready() error {
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if f.storeErr != nil {
		return errors.New("the database cannot be read")
	}
	return nil
}

func (f *Feed) noteRead(err error) {
	if errors.Is(err, context.Canceled) {
		return // says nothing about the database
	}
	f.storeMu.Lock()
	defer f.storeMu.Unlock()
	if (err == nil) != (f.storeErr == nil) {
		if err != nil {
			f.log.Warn("database reads fail", "err", err)
		} else {
			f.log.Info("database reads work again")
		}
	}
	f.storeErr = err
}

// randomTopic names a topic that nobody else uses: a server encodes a change once for a topic and may send it in another
// subscriber's protocol version.
func randomTopic(what string) string {
	return fmt.Sprintf("realtime:proxy-%s-%08x", what, rand.Uint32())
}
