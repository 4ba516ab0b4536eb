package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	handshakeTimeout  = 15 * time.Second // a refusal takes the server 2 s
	maxRefusalBytes   = 4 << 10
	maxRefusalMessage = 300
)

// dial opens the socket. Its errors contain no part of the URL's query.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	netDial, proxy := c.opts.NetDial, (func(*http.Request) (*url.URL, error))(nil)
	if netDial == nil {
		netDial, proxy = new(net.Dialer).DialContext, http.ProxyFromEnvironment
	}
	stop := func() bool { return true }
	dialer := websocket.Dialer{
		Proxy:            proxy,
		HandshakeTimeout: handshakeTimeout,
		// The dialer does not watch its context while it reads the answer; closing the connection ends that read.
		NetDialContext: func(dialCtx context.Context, network, addr string) (net.Conn, error) {
			conn, err := netDial(dialCtx, network, addr)
			if err == nil {
				stop = context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
	}
	ws, resp, err := dialer.DialContext(ctx, c.endpoint.String(), http.Header{"User-Agent": {c.opts.UserAgent}})
	switch stopped := stop(); {
	case err != nil:
		return nil, c.dialError(resp, err)
	case !stopped:
		ws.Close()
		return nil, context.Cause(ctx)
	}
	ws.SetReadLimit(c.opts.ReadLimit)
	return ws, nil
}

func (c *Client) dialError(resp *http.Response, err error) error {
	if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
		return &HandshakeError{Status: resp.StatusCode, Message: c.refusal(resp.Body)}
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("open socket: %w", err)
}

// refusal reads the text of a refused handshake: "error" of Realtime's own answers, "message" of gateways.
func (c *Client) refusal(body io.Reader) string {
	raw, err := io.ReadAll(io.LimitReader(body, maxRefusalBytes))
	if err != nil {
		return ""
	}
	var answer struct{ Error, Message string }
	if json.Unmarshal(raw, &answer) != nil {
		return ""
	}
	text := answer.Error
	if text == "" {
		text = answer.Message
	}
	text = strings.ReplaceAll(text, c.opts.Key, "(key)")
	return strings.ToValidUTF8(text[:min(len(text), maxRefusalMessage)], "")
}
