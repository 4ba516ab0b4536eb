package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/supabase-community/postgrest-go"
)

const (
	defaultTimeout = 10 * time.Second
	defaultMaxBody = 16 << 20

	// maxRows is the most rows that one answer is asked for, PostgREST's usual db-max-rows.
	maxRows = 1000
	// leastMaxRows is the lowest db-max-rows under which no row is missed: it covers a batch of ids, and a page of fewer
	// rows cannot have been cut by the server.
	leastMaxRows = maxBatch
	// maxBatch values of 36 characters make an encoded in.(...) list of about 4 KiB, which every gateway lets through.
	maxBatch = 100

	userAgent = "realtime-proxy" // the hosted gateway refuses secret keys from what looks like a browser
)

// Options configure a Client. URL and Key are required.
type Options struct {
	// URL is the Supabase base URL; "/rest/v1" is appended unless it already ends so.
	URL string
	// Key is the service key, a JWT or an sb_secret_ key. It travels as apikey and as bearer token, as with the
	// official clients: gateways accept an opaque key as bearer token when it equals apikey.
	Key string
	// Names of tables, columns and functions; empty ones take those of DefaultNames.
	Names Names
	// Timeout of one request, default 10 s.
	Timeout time.Duration
	// MaxBody is the most bytes of one answer, decompressed, default 16 MiB.
	MaxBody int64
	// Transport replaces the client's own transport and is then not closed by Close.
	Transport http.RoundTripper
	// Logger receives one debug line a request, without values; nil discards.
	Logger *slog.Logger
}

// Client calls PostgREST with the service key. Its methods may be called concurrently.
type Client struct {
	names   Names
	timeout time.Duration
	builder *postgrest.Client
	own     *http.Transport // nil when the transport was given
	clock   *clock
	log     *slog.Logger
}

// New checks opts and allocates a client. It makes no request.
func New(opts Options) (*Client, error) {
	base, err := baseURL(opts.URL)
	if err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if opts.Key == "" || strings.ContainsFunc(opts.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("rest: the key is empty or not printable")
	}
	if opts.Timeout < 0 || opts.MaxBody < 0 {
		return nil, errors.New("rest: a limit is negative")
	}
	names := opts.Names.filled()
	if err := names.validate(); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	c := &Client{
		names:   names,
		timeout: defaultTo(opts.Timeout, defaultTimeout),
		clock:   newClock(),
		log:     opts.Logger,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.builder, err = postgrest.NewClientWithError(base, names.Schema, map[string]string{
		"Apikey":        opts.Key,
		"Authorization": "Bearer " + opts.Key,
		"User-Agent":    userAgent,
	})
	if err != nil {
		return nil, errors.New("rest: the base URL is malformed")
	}
	next := opts.Transport
	if next == nil {
		c.own = newTransport()
		next = c.own
	}
	c.builder.Transport.Parent = &roundTripper{
		next:    next,
		maxBody: defaultTo(opts.MaxBody, defaultMaxBody),
		clock:   c.clock,
	}
	return c, nil
}

// Close drops the idle connections of the client's own transport. Calls in flight go on.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Now estimates the clock of the database side: the local monotonic clock plus an offset learned from the Date headers
// of all answers, good to about a second; the local clock before the first answer. It may step when answers contradict
// the estimate, in either direction.
func (c *Client) Now() time.Time { return c.clock.now() }

// Reached returns the latest time that the server's clock has surely reached: never after Now.
func (c *Client) Reached() time.Time { return c.clock.reached(time.Now()) }

// Ping reads one id of the messages table, which proves address, key, table and grants, and returns Now.
func (c *Client) Ping(ctx context.Context) (time.Time, error) {
	t := c.names.Messages
	query := c.builder.From(t.Name).Select(t.selection("id"), "", false).Limit(1, "")
	var rows []struct{}
	if _, err := c.read(ctx, "ping", query, &rows); err != nil {
		return time.Time{}, err
	}
	return c.Now(), nil
}

// baseURL returns the PostgREST address of a Supabase base URL. The URL itself never stands in the error.
func baseURL(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return "", errors.New("the URL is malformed")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", errors.New("the URL needs the form http(s)://host")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		return "", errors.New("the URL may not hold a user, a query, a fragment or an escaped path")
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/rest/v1") + "/rest/v1"
	return u.String(), nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   64, // bursts reuse connections; the default of 2 opens one a call
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// An HTTP/2 connection whose peer vanished would otherwise swallow calls for many minutes.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

func defaultTo[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
