package rest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const (
	serviceKey = "header.payload.signature-of-the-service-key"

	idA = "aaaaaaaa-0000-4000-8000-000000000001"
	idB = "bbbbbbbb-0000-4000-8000-000000000002"
	idC = "cccccccc-0000-4000-8000-000000000003"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what a scripted server saw.
type request struct {
	Method string
	Path   string
	Query  url.Values
	Raw    string
	Header http.Header
	Body   string
}

// script is a server that keeps all requests and answers each with the next step, the last one for ever.
type script struct {
	URL string

	mu    sync.Mutex
	seen  []request
	steps []http.HandlerFunc
}

func newScript(t *testing.T, steps ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{steps: steps}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.seen = append(s.seen, request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Raw: r.URL.RawQuery,
		Header: r.Header.Clone(), Body: string(bytes.TrimSpace(body)),
	})
	step := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	s.mu.Unlock()
	step(w, r)
}

func (s *script) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.seen...)
}

// only returns the single request that was made.
func (s *script) only(t *testing.T) request {
	t.Helper()
	seen := s.requests()
	require.Len(t, seen, 1)
	return seen[0]
}

// answer is a step with a status and a body.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func newClient(t *testing.T, s *script, change ...func(*rest.Options)) *rest.Client {
	t.Helper()
	opts := rest.Options{URL: s.URL, Key: serviceKey}
	for _, f := range change {
		f(&opts)
	}
	c, err := rest.New(opts)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}
