package stack_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const patience = 30 * time.Second

var fixture = standin.NewFixture()

// kinds are the kinds of PostgreSQL to test: the embedded one always, Debian's where it is installed.
func kinds() []string {
	if stack.Available(stack.Debian) == nil {
		return []string{stack.Embedded, stack.Debian}
	}
	return []string{stack.Embedded}
}

// gateway serves the stack as a project does and returns its address.
func gateway(t *testing.T, s *stack.Stack) string {
	t.Helper()
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func restClient(t *testing.T, o rest.Options) *rest.Client {
	t.Helper()
	client, err := rest.New(o)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func serviceClient(t *testing.T, s *stack.Stack) *rest.Client {
	t.Helper()
	return restClient(t, rest.Options{URL: gateway(t, s), Key: s.ServiceKey()})
}

// request is one call of PostgREST.
type request struct {
	method, path, key, body string
	header                  map[string]string
}

// answer is what came back; Code is that of an error body.
type answer struct {
	status int
	body   string
	code   string
}

func (r request) do(t *testing.T, s *stack.Stack) answer {
	t.Helper()
	return r.through(t, s.Handler())
}

func (r request) through(t *testing.T, handler http.Handler) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	in := httptest.NewRequestWithContext(ctx, method, "/rest/v1/"+r.path, strings.NewReader(r.body))
	in.Header.Set("Content-Type", "application/json")
	if r.key != "" {
		in.Header.Set("apikey", r.key)
	}
	for name, value := range r.header {
		in.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, in)
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	a := answer{status: w.Code, body: string(body)}
	var failure struct{ Code string }
	if json.Unmarshal(body, &failure) == nil {
		a.code = failure.Code
	}
	return a
}

// rows decodes an answer that must be an array of objects.
func (a answer) rows(t *testing.T) []map[string]any {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &rows))
	return rows
}

// rpc calls a function with arguments given as JSON.
func rpc(name, key, arguments string) request {
	return request{method: http.MethodPost, path: "rpc/" + name, key: key, body: arguments}
}

func tokenArgument(token string) string { return `{"p_session_token":"` + token + `"}` }

// value reads one value of the database.
func value[T any](t *testing.T, s *stack.Stack, sql string, args ...any) T {
	t.Helper()
	conn, err := s.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context())) // nothing was written
	var v T
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}
