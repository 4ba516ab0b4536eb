package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"
)

// Client is one supervised socket with a fixed list of channels.
type Client struct {
	// Fixed after New.
	opts      Options
	endpoint  *url.URL // with the key in its query: never logged
	joinToken string   // access_token of joins, "" = none
	log       *slog.Logger

	started   atomic.Bool
	rtt       atomic.Int64
	beatSent  atomic.Pointer[time.Time] // of the heartbeat that waits for its answer, nil for none
	reconnect chan string               // one slot, so that requests coalesce; never closed

	// Owned by Run.
	channels []*channel
	byTopic  map[string]*channel
	backoff  backoff
}

// New checks the options. It starts nothing.
func New(opts Options) (*Client, error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("realtime options: %w", err)
	}
	u, err := endpoint(opts.URL, opts.Key, opts.Version)
	if err != nil {
		return nil, fmt.Errorf("realtime options: %w", err)
	}
	c := &Client{
		opts:      opts,
		endpoint:  u,
		log:       opts.Logger.With("component", "realtime"),
		reconnect: make(chan string, 1),
		byTopic:   make(map[string]*channel, len(opts.Channels)),
		backoff:   newBackoff(&opts),
	}
	if isJWT(opts.Key) {
		c.joinToken = opts.Key
	}
	for _, spec := range opts.Channels {
		ch, err := newChannel(spec, c.joinToken)
		if err != nil {
			return nil, fmt.Errorf("realtime options: %w", err)
		}
		c.channels = append(c.channels, ch)
		c.byTopic[spec.Topic] = ch
	}
	return c, nil
}

// Run keeps the socket open and its channels joined until ctx ends, and then returns nil. It gives up on nothing; what goes
// wrong is reported to the Handler. Run may be called once.
func (c *Client) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return errors.New("realtime client was run before")
	}
	defer c.reportAll(StateClosed, nil)
	for ctx.Err() == nil {
		stable, err := c.runConn(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if stable {
			c.backoff.reset()
		}
		c.reportAll(StateErrored, err)
		wait := c.retryIn(err)
		c.log.Warn("socket lost", "err", err, "retry_in", wait)
		c.sleep(ctx, wait)
	}
	return nil
}

// Reconnect drops the current socket and dials again at once; while a dial is waiting for its turn it only ends the wait.
// Requests made before the socket is open again count as one. The reason goes to the log and into Status.Err.
func (c *Client) Reconnect(reason string) {
	select {
	case c.reconnect <- reason:
	default:
	}
}

// RTT returns how long the last answered heartbeat took, 0 before the first.
func (c *Client) RTT() time.Duration {
	return time.Duration(c.rtt.Load())
}

// HeartbeatPending returns how long the last heartbeat has been waiting for its answer, 0 when none waits.
func (c *Client) HeartbeatPending() time.Duration {
	sent := c.beatSent.Load()
	if sent == nil {
		return 0
	}
	return time.Since(*sent)
}

// runConn is one socket from dial to its end. It reports whether the socket was live long enough to trust the next.
func (c *Client) runConn(ctx context.Context) (stable bool, err error) {
	c.reportAll(StateDialing, nil)
	ws, err := c.dial(ctx)
	if err != nil {
		return false, err
	}
	select {
	case <-c.reconnect: // this socket is the answer to it
	default:
	}
	c.log.Info("socket open", "host", c.endpoint.Host, "vsn", c.opts.Version)
	s := newConn(c, ws)
	err = s.run(ctx)
	c.beatSent.Store(nil)
	return s.stable, err
}

func (c *Client) retryIn(err error) time.Duration {
	switch {
	case errors.Is(err, ErrReconnect), errors.Is(err, ErrRecycled):
		return 0
	case IsConfiguration(err):
		return slow(c.opts.Rand)
	default:
		return c.backoff.next()
	}
}

// sleep waits for d, for a request to reconnect or for the end of ctx.
func (c *Client) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.reconnect:
	case <-ctx.Done():
	}
}

func (c *Client) reportAll(state State, err error) {
	for _, ch := range c.channels {
		c.report(ch, state, err)
	}
}

func (c *Client) report(ch *channel, state State, err error) {
	ch.state = state
	c.opts.Handler.OnStatus(Status{Topic: ch.spec.Topic, State: state, Err: err, At: time.Now()})
}
