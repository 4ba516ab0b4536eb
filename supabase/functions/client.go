package functions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	defaultTimeout   = 150 * time.Second // the longest that a hosted function may take
	defaultMaxBody   = 1 << 20
	defaultUserAgent = "realtime-proxy"
)

// Options configure a Client. URL is required.
type Options struct {
	// URL is the Supabase base URL; "/functions/v1" is appended.
	URL string
	// Key, unless empty, is sent as apikey and bearer token in place of what the request's header holds.
	Key string
	// Timeout of one call with its answer, default 150 s.
	Timeout time.Duration
	// MaxBody is the most bytes of one answer, decompressed, default 1 MiB.
	MaxBody int64
	// Transport replaces the client's own transport and is then not closed by Close.
	Transport http.RoundTripper
	// Logger receives one debug line a call, without path, header or body; nil discards.
	Logger *slog.Logger
	// UserAgent of all calls, default "realtime-proxy".
	UserAgent string
}

// Client calls Edge Functions. Its methods may be called concurrently.
type Client struct {
	base      string
	key       string
	userAgent string
	timeout   time.Duration
	maxBody   int64
	transport http.RoundTripper
	own       *http.Transport // nil when the transport was given
	log       *slog.Logger
	// direct is set while the answers say that no CDN stands in front, which would name the client's address itself.
	direct atomic.Bool
}

// New checks opts and allocates a client. It makes no request.
func New(opts Options) (*Client, error) {
	base, err := baseURL(opts.URL)
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	if opts.Timeout < 0 || opts.MaxBody < 0 {
		return nil, errors.New("functions: a limit is negative")
	}
	if !printable(opts.Key) || !printable(opts.UserAgent) {
		return nil, errors.New("functions: the key or the user agent is not printable")
	}
	c := &Client{
		base: base, key: opts.Key, userAgent: opts.UserAgent,
		timeout: opts.Timeout, maxBody: opts.MaxBody,
		transport: opts.Transport, log: opts.Logger,
	}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if c.maxBody == 0 {
		c.maxBody = defaultMaxBody
	}
	if c.userAgent == "" {
		c.userAgent = defaultUserAgent
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.transport == nil {
		c.own = newTransport()
		c.transport = c.own
	}
	return c, nil
}

// Close drops the idle connections of the client's own transport. Calls in flight go on.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Call makes one call and reads its whole answer. Redirects are not followed but an error.
func (c *Client) Call(ctx context.Context, r Request) (*Response, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	started := time.Now()
	answer, err := c.call(ctx, r)
	status := 0
	if answer != nil {
		status = answer.Status
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "function call", slog.String("function", r.Function),
		slog.Int("status", status), slog.Duration("took", time.Since(started)))
	return answer, err
}

func (c *Client) call(ctx context.Context, r Request) (*Response, error) {
	req, err := c.request(ctx, r)
	if err != nil {
		return nil, &Error{Function: r.Function, Code: CodeNetwork, cause: err}
	}
	// The transport alone: http.Client would follow redirects and put the URL into its errors.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, transportError(r.Function, 0, err)
	}
	defer resp.Body.Close()
	c.direct.Store(resp.Header.Get("Cf-Ray") == "")
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, &Error{Function: r.Function, Status: resp.StatusCode, Code: CodeRedirect}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.maxBody+1))
	if err != nil {
		return nil, transportError(r.Function, resp.StatusCode, err)
	}
	if int64(len(body)) > c.maxBody {
		return nil, &Error{Function: r.Function, Status: resp.StatusCode, Code: CodeBodyTooLarge}
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// baseURL returns the functions address of a Supabase base URL. The URL itself never stands in the error.
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
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/rest/v1")
	u.Path = path + "/functions/v1"
	return u.String(), nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// An HTTP/2 connection whose peer vanished would otherwise swallow calls for many minutes.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
