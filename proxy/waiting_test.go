package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// ended waits until the proxy has closed a connection, with an end or a reset.
func ended(t *testing.T, conn io.Reader) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestConnectionsWithoutARequestAreBounded(t *testing.T) {
	w := newWorld(t, standin.Options{})
	h := hostile{t, w.start(func(o *proxy.Options) { o.Limits = proxy.Limits{WaitingConnections: 2} })}
	count := func(name string) float64 { return metric(t, h.node, "realtime_proxy_port_"+name) }
	ask := func(conn io.ReadWriter) (status int) {
		_, err := io.WriteString(conn, "GET /nothing-here HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}

	waiting := func(n float64) {
		require.Eventually(t, func() bool { return count("waiting") == n }, hostilePatience, 5*time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections() // of the world's own look at the proxy
	waiting(0)
	idle := h.connect()
	require.Equal(t, http.StatusNotFound, ask(idle))
	waiting(1)
	silent := h.connect()
	waiting(2)
	half := h.connect()
	_, err := io.WriteString(half, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	require.NoError(t, err)
	ended(t, idle)
	assert.EqualValues(t, 1, count("waiting_closed_total"), "the one that has waited since its request")
	assert.EqualValues(t, 0, count("unserved_total"), "it had been served")

	last := h.connect()
	ended(t, silent)
	assert.EqualValues(t, 2, count("waiting"))
	require.Equal(t, http.StatusNotFound, ask(last), "the rest is served as ever")
	waiting(2)
	h.connect()
	ended(t, half)
	assert.EqualValues(t, 3, count("waiting_closed_total"))
	assert.Eventually(t, func() bool { return count("unserved_total") == 2 }, hostilePatience, 5*time.Millisecond)
	require.Equal(t, http.StatusNotFound, ask(last))
}

func TestConnectionsThatNeverAskAreCounted(t *testing.T) {
	w := newWorld(t, standin.Options{})
	h := hostile{t, w.start(func(o *proxy.Options) { o.Limits = proxy.Limits{HeaderTimeout: shortTimeout} })}
	for _, text := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"} {
		conn := h.connect()
		_, err := io.WriteString(conn, text)
		require.NoError(t, err)
		ended(t, conn)
	}
	assert.Eventually(t, func() bool { return metric(t, h.node, "realtime_proxy_port_unserved_total") == 4 }, hostilePatience, 5*time.Millisecond)
	assert.Zero(t, metric(t, h.node, "realtime_proxy_port_waiting_closed_total"))
}

func TestConnectionsWithoutAWholeBodyAreBounded(t *testing.T) {
	w := newWorld(t, standin.Options{})
	h := hostile{t, w.start(func(o *proxy.Options) { o.Limits = proxy.Limits{WaitingConnections: 2} })}
	count := func(name string) float64 { return metric(t, h.node, "realtime_proxy_port_"+name) }
	waiting := func(n float64) {
		require.Eventually(t, func() bool { return count("waiting") == n }, hostilePatience, 5*time.Millisecond)
	}
	begin := func(path string) net.Conn {
		conn := h.connect()
		_, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{")
		require.NoError(t, err)
		return conn
	}
	http.DefaultClient.CloseIdleConnections() // of the world's own look at the proxy
	waiting(0)
	first := begin("/temporary-chat-handler")
	waiting(1)
	second := begin("/temporary-chat-ticket")
	waiting(2)
	third := begin("/temporary-chat-api/validate")
	ended(t, first)
	waiting(2)
	fourth := begin("/realtime/v1/api/broadcast")
	ended(t, second)
	waiting(2)
	assert.EqualValues(t, 2, count("waiting_closed_total"))
	for _, conn := range []net.Conn{third, fourth} {
		_, err := io.WriteString(conn, " }")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.NotEqual(t, http.StatusRequestTimeout, res.StatusCode, "a body that comes is read")
	}
	assert.EqualValues(t, 2, count("waiting_closed_total"))
	assert.Zero(t, count("unserved_total"))
}
