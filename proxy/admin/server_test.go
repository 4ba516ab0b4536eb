package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/proxy/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T, opts admin.Options) *admin.Server {
	t.Helper()
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	s, err := admin.New(opts)
	require.NoError(t, err)
	return s
}

func request(s *admin.Server, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestLivezAnswersOK(t *testing.T) {
	s := newServer(t, admin.Options{Ready: func() error { return errors.New("starting") }})
	w := request(s, http.MethodGet, "/livez")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "ok\n", w.Body.String())
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	assert.Contains(t, w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Equal(t, "DENY", w.Header().Get("X-Frame-Options"))
	assert.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
}

func TestReadyzFollowsReady(t *testing.T) {
	var cause error
	s := newServer(t, admin.Options{Ready: func() error { return cause }})
	w := request(s, http.MethodGet, "/readyz")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "ready\n", w.Body.String())

	cause = errors.New(`upstream is "joining"`)
	w = request(s, http.MethodGet, "/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.JSONEq(t, `{"code":"not_ready","message":"upstream is \"joining\""}`, w.Body.String())

	assert.Equal(t, http.StatusOK, request(newServer(t, admin.Options{}), http.MethodGet, "/readyz").Code)
}

func TestMetricsShowTheRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "realtime_proxy_rows_total", Help: "Rows."})
	registry.MustRegister(counter)
	counter.Add(3)
	w := request(newServer(t, admin.Options{Registry: registry}), http.MethodGet, "/metrics")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), "\nrealtime_proxy_rows_total 3\n")
}

func TestTwoServersShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		assert.Equal(t, http.StatusOK, request(newServer(t, admin.Options{Registry: registry}), http.MethodGet, "/metrics").Code)
	}
}

func TestStatusIsJSON(t *testing.T) {
	document := any(map[string]int{"conns": 2})
	s := newServer(t, admin.Options{Status: func() any { return document }})
	w := request(s, http.MethodGet, "/status")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.JSONEq(t, `{"conns":2}`, w.Body.String())

	document = func() {}
	w = request(s, http.MethodGet, "/status")
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.JSONEq(t, `{"code":"internal","message":"the status cannot be shown"}`, w.Body.String())

	assert.Equal(t, http.StatusNotFound, request(newServer(t, admin.Options{}), http.MethodGet, "/status").Code)
}

func TestProfilesAreServedOnlyWhenEnabled(t *testing.T) {
	paths := []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/symbol"}
	for enabled, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		s := newServer(t, admin.Options{PProf: enabled})
		for _, path := range paths {
			assert.Equal(t, want, request(s, http.MethodGet, path).Code, path)
		}
	}
}

func TestOnlyReadingMethodsAreServed(t *testing.T) {
	s := newServer(t, admin.Options{PProf: true, Status: func() any { return nil }})
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/status", "/debug/pprof/symbol"} {
		assert.Equal(t, http.StatusMethodNotAllowed, request(s, http.MethodPost, path).Code, path)
		assert.Equal(t, http.StatusOK, request(s, http.MethodHead, path).Code, path)
	}
	assert.Equal(t, http.StatusNotFound, request(s, http.MethodGet, "/").Code)
}

func TestNewRefusesIncompleteOptions(t *testing.T) {
	_, err := admin.New(admin.Options{Listen: ":1"})
	require.EqualError(t, err, "admin: no metrics registry")
	_, err = admin.New(admin.Options{Registry: prometheus.NewRegistry(), Listen: "8081"})
	require.EqualError(t, err, "admin: listen address: address 8081: missing port in address")
}

// run starts s and returns a function that stops it and gives Run's result.
func run(t *testing.T, s *admin.Server) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() }) // Run has closed it before, unless the test failed early
	return listener
}

func get(t *testing.T, address net.Addr, host, path string) (int, string) {
	t.Helper()
	_, port, err := net.SplitHostPort(address.String())
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, nil)
	require.NoError(t, err)
	r.Host = host
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { assert.NoError(t, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	stop := run(t, newServer(t, admin.Options{Listener: listener}))
	status, body := get(t, listener.Addr(), "", "/livez")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", body)
	require.NoError(t, stop())
	_, err := net.Dial("tcp", listener.Addr().String())
	assert.Error(t, err, "the port is closed")
}

func TestRunEndsWithoutWaitingForAProfile(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	stop := run(t, newServer(t, admin.Options{Listener: listener, PProf: true}))
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /debug/pprof/trace?seconds=120 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	head := make([]byte, len("HTTP/1.1 200 OK"))
	_, err = io.ReadFull(conn, head) // the trace's first bytes are sent once it is running
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 200 OK", string(head))
	require.NoError(t, stop())
}

func TestRunReportsAPortInUse(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	s := newServer(t, admin.Options{Listen: listener.Addr().String()})
	err := s.Run(t.Context())
	require.Error(t, err)
	assert.True(t, strings.HasPrefix(err.Error(), "open admin port: "), err.Error())
}

func TestRunReportsAListenerThatFails(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	require.NoError(t, listener.Close())
	err := newServer(t, admin.Options{Listener: listener}).Run(t.Context())
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestRunOnLoopbackAnswersForThisMachineOnly(t *testing.T) {
	for name, row := range map[string]struct {
		listen string
		wants  map[string]int
	}{
		"loopback": {"127.0.0.1:0", map[string]int{
			"localhost": 200, "localhost:8081": 200, "127.0.0.1:8081": 200, "[::1]:8081": 200, "[::1]": 200, "10.0.0.1": 200,
			"evil.example": 421, "evil.example:8081": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		}},
		"every address": {"0.0.0.0:0", map[string]int{"proxy.internal:8081": 200}},
	} {
		t.Run(name, func(t *testing.T) {
			listener := listen(t, row.listen)
			stop := run(t, newServer(t, admin.Options{Listener: listener}))
			for host, want := range row.wants {
				status, _ := get(t, listener.Addr(), host, "/metrics")
				assert.Equal(t, want, status, host)
			}
			require.NoError(t, stop())
		})
	}
}
