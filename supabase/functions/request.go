package functions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Request is one call of a function.
type Request struct {
	Function string      // name, [a-z0-9-]+
	Path     string      // below the function, [a-z0-9-]+ joined by slashes; may be empty
	Method   string      // GET, POST, PUT, PATCH or DELETE; empty means POST
	Header   http.Header // what the caller lets through; connection headers are dropped
	Body     []byte
}

// Response is a whole answer with its status, whichever that is.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// perConnection are the headers that net/http sets itself or that mean one connection only.
var perConnection = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

const (
	// addressHeader is where a caller puts the visitor's address.
	addressHeader = "X-Real-Ip"
	// connectingHeader is where functions look for an address first. A gateway of one's own makes a list of X-Forwarded-For, which is
	// no address, but leaves this header alone; a CDN that sets it itself may refuse requests that bring it.
	connectingHeader = "Cf-Connecting-Ip"
)

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	target := c.base + "/" + r.Function
	if r.Path != "" {
		target += "/" + r.Path
	}
	req, err := http.NewRequestWithContext(ctx, r.method(), target, bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("the request cannot be built")
	}
	for name, values := range r.Header {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(perConnection, name) {
			req.Header[name] = slices.Concat(req.Header[name], values)
		}
	}
	if address := req.Header.Get(addressHeader); address != "" && c.direct.Load() {
		req.Header.Set(connectingHeader, address)
	}
	req.Header.Set("User-Agent", c.userAgent)
	if c.key != "" {
		req.Header.Set("Apikey", c.key)
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return req, nil
}

var pathForm = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+)*$`)

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodPost
	}
	return r.Method
}

func (r Request) check() error {
	if !pathForm.MatchString(r.Function) || strings.Contains(r.Function, "/") {
		return fmt.Errorf("call function: %w: name", ErrInvalidArgument)
	}
	if r.Path != "" && !pathForm.MatchString(r.Path) {
		return fmt.Errorf("call function %s: %w: path", r.Function, ErrInvalidArgument)
	}
	switch r.method() {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return nil
	}
	return fmt.Errorf("call function %s: %w: method", r.Function, ErrInvalidArgument)
}
