package proxy_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	hostilePatience = 20 * time.Second
	shortTimeout    = 300 * time.Millisecond
)

// hostile is a visitor who keeps to nothing.
type hostile struct {
	t    *testing.T
	node *node
}

// connect opens a connection with a deadline.
func (h hostile) connect() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.node.base, "http://"))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { conn.Close() })
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(hostilePatience)))
	return conn
}

// request sends text, as far as the proxy takes it, and returns the answer and its body.
func (h hostile) request(text string) (*http.Response, string) {
	h.t.Helper()
	conn := h.connect()
	go func() { _, _ = io.WriteString(conn, text) }() // ends with the connection at the latest
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(h.t, err)
	return resp, string(body)
}

// try brings a token that nobody was given.
func (h hostile) try(header string) *http.Response {
	h.t.Helper()
	resp, _ := h.request("GET /temporary-chat-messages?session_token=nobody-was-given-this-token HTTP/1.1\r\nHost: x\r\n" + header + "\r\n")
	return resp
}

// socket opens a WebSocket, sends bytes that are no frames of a library and returns the close code.
func (h hostile) socket(path string, raw ...[]byte) int {
	h.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(h.node.base, "http")+path, nil)
	require.NoError(h.t, err)
	defer conn.Close()
	require.NoError(h.t, conn.NetConn().SetDeadline(time.Now().Add(hostilePatience)))
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for _, piece := range raw {
			if _, err := conn.NetConn().Write(piece); err != nil {
				return // the close code tells
			}
		}
	}()
	defer func() { conn.Close(); <-wrote }()
	for {
		_, _, err := conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		require.NoError(h.t, err)
	}
}

// giantFrame is a text frame of 5 MB in pieces.
func giantFrame() [][]byte {
	const size, piece = 5_000_000, 100_000
	pieces := [][]byte{append(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, size), 0, 0, 0, 0)}
	for range size / piece {
		pieces = append(pieces, make([]byte, piece))
	}
	return pieces
}

func TestHostileInputIsAnsweredAndForgotten(t *testing.T) {
	const visitors, front = "/temporary-chat-websocket", "/realtime/v1/websocket?vsn=1.0.0"
	w := newWorld(t, standin.Options{})
	h := hostile{node: w.start(func(o *proxy.Options) {
		o.Limits = proxy.Limits{HeaderTimeout: shortTimeout, AuthenticateTimeout: shortTimeout}
	})}
	post := func(header, body string) string {
		return fmt.Sprintf("POST /temporary-chat-handler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
			len(body), header, body)
	}
	tests := []struct {
		name string
		try  func(h hostile) (answer string)
		want string
	}{
		{"slow header", func(h hostile) string {
			conn := h.connect()
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			require.NoError(h.t, err)
			text, _ := io.ReadAll(conn) // an end or a reset
			return string(text)
		}, ""},
		{"silent connection", func(h hostile) string {
			text, err := io.ReadAll(h.connect())
			require.NoError(h.t, err)
			return string(text)
		}, ""},
		{"half-open WebSocket", func(h hostile) string { return fmt.Sprint(h.socket(visitors)) }, "4408"},
		{"5 MB frame", func(h hostile) string { return fmt.Sprint(h.socket(visitors, giantFrame()...)) }, "1009"},
		{"5 MB frame to the Realtime front", func(h hostile) string { return fmt.Sprint(h.socket(front, giantFrame()...)) }, "1009"},
		{"compressed frame", func(h hostile) string {
			return fmt.Sprint(h.socket(visitors, []byte{0xc1, 0x82, 0, 0, 0, 0, 0x02, 0x00}))
		}, "1002"},
		{"compressed frame to the Realtime front", func(h hostile) string {
			return fmt.Sprint(h.socket(front, []byte{0xc1, 0x82, 0, 0, 0, 0, 0x02, 0x00}))
		}, "1002"},
		{"frame without a mask", func(h hostile) string { return fmt.Sprint(h.socket(visitors, []byte{0x81, 2, '{', '}'})) }, "1002"},
		{"encoded body", func(h hostile) string {
			resp, body := h.request(post("Content-Encoding: gzip\r\n", "\x1f\x8b\x08"))
			return resp.Status + " " + codeOf(body)
		}, "415 Unsupported Media Type unsupported_encoding"},
		{"header over the limit", func(h hostile) string {
			resp, _ := h.request("GET / HTTP/1.1\r\nHost: x\r\nX-Filler: " + strings.Repeat("x", 128<<10) + "\r\n\r\n")
			return resp.Status
		}, "431 Request Header Fields Too Large"},
		{"body over the limit", func(h hostile) string {
			resp, body := h.request(post("", strings.Repeat(" ", 128<<10)))
			return resp.Status + " " + codeOf(body)
		}, "413 Request Entity Too Large body_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.try(hostile{t, h.node})) })
	}
	for _, transport := range []string{"websocket", "realtime"} {
		open := func() float64 {
			return metric(t, h.node, `realtime_proxy_transport_streams{transport="`+transport+`"}`)
		}
		assert.Eventually(t, func() bool { return open() == 0 }, hostilePatience, 20*time.Millisecond, "nothing is left of them")
	}
}

// codeOf finds the code in the body of an error.
func codeOf(body string) string {
	_, after, _ := strings.Cut(body, `"code":"`)
	code, _, _ := strings.Cut(after, `"`)
	return code
}

func TestTokensAreTriedAsOftenAsTheirAddressAllows(t *testing.T) {
	const tries = 20 // of a minute, by default
	statuses := func(h hostile, n int, header func(int) string) (seen []int) {
		for i := range n {
			seen = append(seen, h.try(header(i)).StatusCode)
		}
		return seen
	}
	plain := func(int) string { return "" }
	all401 := make([]int, tries)
	for i := range all401 {
		all401[i] = http.StatusUnauthorized
	}
	start := func(t *testing.T, trusted ...string) hostile {
		w := newWorld(t, standin.Options{})
		return hostile{t, w.start(func(o *proxy.Options) {
			for _, network := range trusted {
				o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(network))
			}
		})}
	}
	t.Run("then it has to wait", func(t *testing.T) {
		h := start(t)
		assert.Equal(t, all401, statuses(h, tries, plain))
		resp := h.try("")
		assert.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		assert.Regexp(t, `^[1-5]?[0-9]$|^60$`, resp.Header.Get("Retry-After"))
	})
	t.Run("a forwarding header of an untrusted peer changes nothing", func(t *testing.T) {
		h := start(t)
		spoofed := func(i int) string {
			return fmt.Sprintf("X-Forwarded-For: 203.0.113.%d\r\nCF-Connecting-IP: 203.0.113.%d\r\n", i, i)
		}
		assert.Equal(t, all401, statuses(h, tries, spoofed))
		assert.Equal(t, http.StatusTooManyRequests, h.try(spoofed(tries)).StatusCode)
	})
	t.Run("an IPv6 /64 is one address", func(t *testing.T) {
		h := start(t, "127.0.0.0/8")
		inNetwork := func(network string) func(int) string {
			return func(i int) string { return fmt.Sprintf("X-Forwarded-For: %s:%x\r\n", network, i) }
		}
		assert.Equal(t, all401, statuses(h, tries, inNetwork("2001:db8:0:1:a:b:c")))
		assert.Equal(t, http.StatusTooManyRequests, h.try(inNetwork("2001:db8:0:1:d:e:f")(0)).StatusCode, "the same /64")
		assert.Equal(t, all401, statuses(h, tries, inNetwork("2001:db8:0:2:a:b:c")), "another /64 has tries of its own")
		assert.Equal(t, http.StatusTooManyRequests, h.try(inNetwork("2001:db8:0:2:a:b:c")(0)).StatusCode)
		assert.Equal(t, http.StatusUnauthorized, h.try("X-Forwarded-For: 203.0.113.1\r\n").StatusCode, "and so has an IPv4 address")
	})
}

func TestVisitorKeepsHisPlaceBesideAFloodOfTokens(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.Supabase.AuthorizePerSecond = 5 })
	stay := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
	flood(t, w.ctx, n, 200)

	require.True(t, comesIn(t, w.ctx, n.visitor(w.fixture.Shared)), "a newcomer waits, and gets a turn")
	reply, err := n.visitor(w.fixture.Visitor).Send(w.ctx, "I am still here", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, reply.Status, reply.Body)
	m, err := stay.Message()
	require.NoError(t, err)
	assert.Equal(t, "I am still here", m.Content)
}

// comesIn reports whether a visitor who is told to come back later, and does, gets a stream within a minute.
func comesIn(t *testing.T, ctx context.Context, v *proxytest.Visitor) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		events, err := v.Events(ctx, proxytest.EventsOptions{})
		if err != nil {
			continue
		}
		_, err = events.Until("connected")
		events.Close()
		if err == nil {
			return true
		}
	}
	return false
}

// flood brings unknown tokens from as many addresses until the test ends. It returns when some have come to no turn.
func flood(t *testing.T, ctx context.Context, n *node, addresses int) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var crowd sync.WaitGroup
	t.Cleanup(func() { cancel(); crowd.Wait() })
	var refused atomic.Int32
	for i := range addresses {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, 0, byte(i+1))}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		crowd.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.base+"/temporary-chat-messages?session_token="+uuid.NewString(), nil)
				if !assert.NoError(t, err) {
					return
				}
				if resp, err := client.Do(req); err == nil {
					resp.Body.Close()
					if resp.StatusCode == http.StatusServiceUnavailable {
						refused.Add(1)
					}
				}
			}
		})
	}
	require.Eventually(t, func() bool { return refused.Load() >= int32(5*addresses) }, time.Minute, 10*time.Millisecond)
}
