package proxy_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestABodyThatDoesNotComeHoldsNoConnection(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.Limits = proxy.Limits{WriteTimeout: 10 * time.Second} })
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"unknown path", "POST /nowhere", http.StatusNotFound},
		{"GET", "GET /nowhere", http.StatusBadRequest},
		{"GET of a stream", "GET /temporary-chat-events", http.StatusBadRequest},
		{"path with two slashes", "POST //x", http.StatusNotFound},
		{"client", "POST /client.js", http.StatusMethodNotAllowed},
		{"GET of the client", "GET /client.js", http.StatusOK},
		{"options of all", "OPTIONS *", http.StatusOK},
		{"preflight", "OPTIONS /temporary-chat-handler", http.StatusOK},
		{"message", "POST /temporary-chat-handler", http.StatusRequestTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn := hostile{t, n}.connect()
			_, err := io.WriteString(conn, tt.request+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\nhalf")
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			assert.Equal(t, tt.status, resp.StatusCode)
			ended(t, r)
		})
	}
}

// Requests in a row whose answers are not read fill the buffers; then the proxy waits for the peer, and the peer for the proxy.
func TestAPeerWhoReadsNothingHoldsNoConnection(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.Limits = proxy.Limits{WriteTimeout: shortTimeout} })
	for _, path := range []string{"/react.js", "/x", "//x", "/temporary-chat-api", "/temporary-chat-messages"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn := hostile{t, n}.connect()
			requests := strings.Repeat("DELETE "+path+" HTTP/1.1\r\nHost: x\r\n\r\nGET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
			var err error
			for err == nil {
				_, err = io.WriteString(conn, requests)
			}
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the proxy has hung up")
		})
	}
}

// The project takes longer to give no answer than an answer may take to be written.
func TestALateRefusalIsToldAllTheSame(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) {
		o.Limits.WriteTimeout, o.Supabase.RequestTimeout = shortTimeout, 2*shortTimeout
	})
	w.standin.Faults().Set(standin.Fault{Kind: standin.SlowHTTP, Match: validationPath, Delay: time.Minute})
	defer w.standin.Faults().ClearAll()
	for accept, status := range map[string]int{"*/*": http.StatusServiceUnavailable, "text/event-stream": http.StatusOK} {
		t.Run(accept, func(t *testing.T) {
			resp, body := hostile{t, n}.request("GET /temporary-chat-events?session_token=" + w.fixture.Visitor.Token +
				" HTTP/1.1\r\nHost: x\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n")
			assert.Equal(t, status, resp.StatusCode)
			assert.Equal(t, "upstream_unavailable", codeOf(body))
		})
	}
}
