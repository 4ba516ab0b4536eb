package rest_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestErrorAnswersAreClassified(t *testing.T) {
	type classes struct{ unavailable, table, column, function, forbidden, conflict, constraint bool }
	for name, c := range map[string]struct {
		status int
		body   string
		code   string
		want   classes
	}{
		"missing column":          {400, `{"code":"42703","message":"m"}`, "42703", classes{unavailable: true, column: true}},
		"missing column, cache":   {400, `{"code":"PGRST204"}`, "PGRST204", classes{unavailable: true, column: true}},
		"missing function":        {404, `{"code":"PGRST202"}`, "PGRST202", classes{unavailable: true, function: true}},
		"missing inner function":  {404, `{"code":"42883"}`, "42883", classes{unavailable: true, function: true}},
		"missing table":           {404, `{"code":"42P01"}`, "42P01", classes{unavailable: true, table: true}},
		"missing table, cache":    {404, `{"code":"PGRST205"}`, "PGRST205", classes{unavailable: true, table: true}},
		"raised":                  {400, `{"code":"P0001"}`, "P0001", classes{unavailable: true}},
		"statement timeout":       {500, `{"code":"57014"}`, "57014", classes{unavailable: true}},
		"no database":             {503, `{"code":"PGRST001"}`, "PGRST001", classes{unavailable: true}},
		"too many requests":       {429, `{"message":"slow down"}`, "", classes{unavailable: true}},
		"gateway key":             {401, `{"message":"Invalid API key","hint":"x"}`, "", classes{unavailable: true, forbidden: true}},
		"expired key":             {401, `{"code":"PGRST301"}`, "PGRST301", classes{unavailable: true, forbidden: true}},
		"no grant":                {403, `{"code":"42501"}`, "42501", classes{unavailable: true, forbidden: true}},
		"duplicate":               {409, `{"code":"23505"}`, "23505", classes{conflict: true}},
		"missing reference":       {409, `{"code":"23503"}`, "23503", classes{constraint: true}},
		"check":                   {400, `{"code":"23514"}`, "23514", classes{constraint: true}},
		"null":                    {400, `{"code":"23502"}`, "23502", classes{constraint: true}},
		"HTML of a gateway":       {502, `<html><body>Bad Gateway</body></html>`, "", classes{unavailable: true}},
		"null body":               {500, `null`, "", classes{unavailable: true}},
		"no body":                 {500, ``, "", classes{unavailable: true}},
		"array body":              {500, `[1]`, "", classes{unavailable: true}},
		"code of another type":    {500, `{"code":500,"details":{"a":1}}`, "500", classes{unavailable: true}},
		"code that is no code":    {500, `{"code":"a b; drop"}`, "", classes{unavailable: true}},
		"half a body":             {500, `{"code":"42703"`, "", classes{unavailable: true}},
		"redirect":                {307, ``, rest.CodeRedirect, classes{unavailable: true}},
		"success that is no JSON": {200, `<html>`, rest.CodeBadAnswer, classes{unavailable: true}},
		"success of other shape":  {200, `{"id":1}`, rest.CodeBadAnswer, classes{unavailable: true}},
		"success without body":    {200, ``, rest.CodeBadAnswer, classes{unavailable: true}},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, newScript(t, answer(c.status, c.body)))
			_, err := client.Links(t.Context(), []string{idA})
			e, ok := errors.AsType[*rest.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.status, e.Status)
			assert.Equal(t, c.code, e.Code)
			assert.Equal(t, "read links", e.Op)
			wrapped := fmt.Errorf("above: %w", err)
			assert.Equal(t, c.want, classes{
				rest.Unavailable(wrapped), rest.MissingTable(wrapped), rest.MissingColumn(wrapped),
				rest.MissingFunction(wrapped), rest.Forbidden(wrapped), rest.Conflict(wrapped), rest.Constraint(wrapped),
			})
		})
	}
}

func TestClassesOfOtherErrorsAreFalse(t *testing.T) {
	for _, err := range []error{nil, errors.New("other"), rest.ErrNotFound, rest.ErrInvalidArgument} {
		for _, is := range []func(error) bool{
			rest.Unavailable, rest.MissingTable, rest.MissingColumn, rest.MissingFunction,
			rest.Forbidden, rest.Conflict, rest.Constraint,
		} {
			assert.False(t, is(err), "%v", err)
		}
	}
}

func TestErrorTextHoldsNoValues(t *testing.T) {
	body := `{"code":"23514","message":"row violates check","details":"Failing row contains (SECRET)","hint":"see SECRET"}`
	client := newClient(t, newScript(t, answer(400, body)))
	_, err := client.InsertMessage(t.Context(), map[string]any{"id": idA, "conversation_id": idC, "content": "SECRET"})
	e, ok := errors.AsType[*rest.Error](err)
	require.True(t, ok)
	assert.Equal(t, "insert message: status 400 code 23514: a check constraint refused the row", err.Error())
	assert.Equal(t, "row violates check", e.Message)
	assert.Equal(t, "Failing row contains (SECRET)", e.Details)
	assert.Equal(t, "see SECRET", e.Hint)
}

func TestLongErrorTextsAreCut(t *testing.T) {
	client := newClient(t, newScript(t, answer(500, `{"message":"`+strings.Repeat("é", 5000)+`"}`)))
	_, err := client.Ping(t.Context())
	e, ok := errors.AsType[*rest.Error](err)
	require.True(t, ok)
	assert.NotEmpty(t, e.Message)
	assert.LessOrEqual(t, len(e.Message), 2048)
	assert.NotContains(t, e.Message, "\uFFFD")
}

func TestRetryAfterIsRead(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": 0, "soon": 0, "-3": 0, "1000000": time.Hour,
		"Mon, 02 Jan 2006 15:04:05 GMT": 0,
	} {
		t.Run(value, func(t *testing.T) {
			client := newClient(t, newScript(t, answer(429, `{}`, "Retry-After", value)))
			_, err := client.Ping(t.Context())
			e, ok := errors.AsType[*rest.Error](err)
			require.True(t, ok)
			assert.Equal(t, want, e.RetryAfter)
		})
	}
	t.Run("a date", func(t *testing.T) {
		at := time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)
		client := newClient(t, newScript(t, answer(503, ``, "Retry-After", at)))
		_, err := client.Ping(t.Context())
		e, ok := errors.AsType[*rest.Error](err)
		require.True(t, ok)
		assert.InDelta(t, 600, e.RetryAfter.Seconds(), 60)
	})
}

func TestOversizeAnswersAreRefused(t *testing.T) {
	limit := func(o *rest.Options) { o.MaxBody = 100 }
	big := `[` + strings.Repeat(" ", 99) + `]`
	requireTooLarge := func(t *testing.T, err error) {
		t.Helper()
		e, ok := errors.AsType[*rest.Error](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, rest.CodeBodyTooLarge, e.Code)
		assert.Equal(t, 200, e.Status)
		assert.True(t, rest.Unavailable(err))
	}
	t.Run("with its length told", func(t *testing.T) {
		_, err := newClient(t, newScript(t, answer(200, big)), limit).Ping(t.Context())
		requireTooLarge(t, err)
	})
	t.Run("compressed", func(t *testing.T) {
		s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write([]byte(big))
			_ = z.Close()
		})
		_, err := newClient(t, s, limit).Ping(t.Context())
		requireTooLarge(t, err)
	})
	t.Run("the limit itself is allowed", func(t *testing.T) {
		_, err := newClient(t, newScript(t, answer(200, big[:99]+"]")), limit).Ping(t.Context())
		require.NoError(t, err)
	})
}

func TestRedirectIsNotFollowedWithTheKey(t *testing.T) {
	elsewhere := newScript(t, answer(200, `[]`))
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newScript(t, answer(status, ``, "Location", elsewhere.URL+"/rest/v1/chat_messages_v2"))
		_, err := newClient(t, s).Ping(t.Context())
		e, ok := errors.AsType[*rest.Error](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, rest.CodeRedirect, e.Code)
		assert.Equal(t, status, e.Status)
	}
	assert.Empty(t, elsewhere.requests())
}

func TestBrokenConnectionsAreNetworkErrors(t *testing.T) {
	requireNetwork := func(t *testing.T, err error) {
		t.Helper()
		e, ok := errors.AsType[*rest.Error](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, rest.CodeNetwork, e.Code)
		assert.True(t, rest.Unavailable(err))
		assert.NotContains(t, err.Error(), idA)
		assert.NotContains(t, err.Error(), "http://")
	}
	t.Run("dropped before the answer", func(t *testing.T) {
		s := newScript(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := newClient(t, s).Links(t.Context(), []string{idA})
		requireNetwork(t, err)
	})
	t.Run("dropped inside the answer", func(t *testing.T) {
		s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`[{"id"`))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		_, err := newClient(t, s).Links(t.Context(), []string{idA})
		requireNetwork(t, err)
	})
	t.Run("refused", func(t *testing.T) {
		c, err := rest.New(rest.Options{URL: "http://127.0.0.1:1", Key: "k"})
		require.NoError(t, err)
		_, err = c.Links(t.Context(), []string{idA})
		requireNetwork(t, err)
		assert.Contains(t, err.Error(), "read links: code network: dial tcp: ")
	})
	t.Run("and do not stick to the client", func(t *testing.T) {
		s := newScript(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, answer(200, `[]`))
		c := newClient(t, s)
		_, err := c.ValidateSession(t.Context(), "a-token-of-some-length")
		requireNetwork(t, err)
		_, err = c.Ping(t.Context())
		require.NoError(t, err)
	})
}

func TestSlowAnswersEndWithTheirContext(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	t.Run("timeout of the client", func(t *testing.T) {
		c := newClient(t, newScript(t, hang), func(o *rest.Options) { o.Timeout = 20 * time.Millisecond })
		_, err := c.Ping(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, rest.Unavailable(err))
		assert.Equal(t, "ping: code timeout", err.Error())
	})
	t.Run("timeout inside the body", func(t *testing.T) {
		c := newClient(t, newScript(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("["))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), func(o *rest.Options) { o.Timeout = 50 * time.Millisecond })
		_, err := c.Ping(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "ping: code timeout", err.Error())
	})
	t.Run("deadline of the caller", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := newClient(t, newScript(t, hang)).Ping(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("cancelled by the caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newClient(t, newScript(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}))
		_, err := c.Ping(ctx)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, "ping: code canceled", err.Error())
	})
	t.Run("cancelled before the call", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := newScript(t, answer(200, `[]`))
		_, err := newClient(t, s).Ping(ctx)
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, s.requests())
	})
}
