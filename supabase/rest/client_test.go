package rest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestNewRefusesUnusableOptions(t *testing.T) {
	good := rest.Options{URL: "http://127.0.0.1:54321", Key: "k"}
	_, err := rest.New(good)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*rest.Options)
		want   string
	}{
		"no URL":            {func(o *rest.Options) { o.URL = "" }, "needs the form"},
		"other scheme":      {func(o *rest.Options) { o.URL = "ftp://host" }, "needs the form"},
		"malformed URL":     {func(o *rest.Options) { o.URL = "http://ho st:x/\x7f" }, "malformed"},
		"user in URL":       {func(o *rest.Options) { o.URL = "http://user:secret@host" }, "may not hold"},
		"query in URL":      {func(o *rest.Options) { o.URL = "http://host?apikey=secret" }, "may not hold"},
		"no key":            {func(o *rest.Options) { o.Key = "" }, "key"},
		"line break in key": {func(o *rest.Options) { o.Key = "secret\r\nX: y" }, "key"},
		"negative timeout":  {func(o *rest.Options) { o.Timeout = -1 }, "negative"},
		"negative body":     {func(o *rest.Options) { o.MaxBody = -1 }, "negative"},
		"table with path":   {func(o *rest.Options) { o.Names.Messages.Name = "../rpc/x" }, "table"},
		"function with ?":   {func(o *rest.Options) { o.Names.ValidateSession = "f?x=1" }, "function"},
		"schema with space": {func(o *rest.Options) { o.Names.Schema = "a b" }, "schema"},
		"column with syntax": {func(o *rest.Options) {
			o.Names.Links.Columns = map[string]string{"id": "id,system_prompt_override"}
		}, "column"},
		"column named as a parameter": {func(o *rest.Options) {
			o.Names.Messages.Columns = map[string]string{"id": "order"}
		}, "query parameter"},
		"empty column": {func(o *rest.Options) {
			o.Names.Agents.Columns = map[string]string{"name": ""}
		}, "column"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := good
			c.change(&opts)
			_, err := rest.New(opts)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestBaseURLKeepsItsPrefix(t *testing.T) {
	for suffix, path := range map[string]string{
		"":                 "/rest/v1/chat_messages_v2",
		"/":                "/rest/v1/chat_messages_v2",
		"/rest/v1":         "/rest/v1/chat_messages_v2",
		"/rest/v1/":        "/rest/v1/chat_messages_v2",
		"/tenants/one":     "/tenants/one/rest/v1/chat_messages_v2",
		"/tenants/one///":  "/tenants/one/rest/v1/chat_messages_v2",
		"/x/rest/v1/inner": "/x/rest/v1/inner/rest/v1/chat_messages_v2",
	} {
		t.Run(suffix, func(t *testing.T) {
			s := newScript(t, answer(200, `[]`))
			c := newClient(t, s, func(o *rest.Options) { o.URL += suffix })
			_, err := c.Ping(t.Context())
			require.NoError(t, err)
			assert.Equal(t, path, s.only(t).Path)
		})
	}
}

func TestEveryRequestCarriesKeyAndProfile(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s, func(o *rest.Options) { o.Names.Schema = "chat" })
	_, err := c.Ping(t.Context())
	require.NoError(t, err)
	r := s.only(t)
	assert.Equal(t, "GET", r.Method)
	assert.Equal(t, "limit=1&select=id", r.Raw)
	for name, want := range map[string]string{
		"Apikey": serviceKey, "Authorization": "Bearer " + serviceKey, "Accept": "application/json",
		"Accept-Profile": "chat", "User-Agent": "realtime-proxy",
	} {
		assert.Equal(t, []string{want}, r.Header.Values(name), name)
	}
	assert.Empty(t, r.Header.Values("Idempotency-Key"))
}

func TestWritesMayBeRepeatedOnAFreshConnection(t *testing.T) {
	var seen http.Header
	c, err := rest.New(rest.Options{URL: "http://upstream.test", Key: "k", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.Header.Clone()
		return nil, context.Canceled
	})})
	require.NoError(t, err)
	_, err = c.InsertMessage(t.Context(), map[string]any{"id": idA, "conversation_id": idC})
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, seen, "Idempotency-Key") // with no value: understood by net/http, not sent
	assert.Empty(t, seen["Idempotency-Key"])
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConcurrentCallsDoNotMixAnswersOrErrors(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		if id == "in.(13)" {
			answer(500, `{"code":"57014","message":"x"}`)(w, r)
			return
		}
		answer(200, fmt.Sprintf(`[{"id":%q,"name":%q}]`, "n", id))(w, r)
	})
	c := newClient(t, s)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			id := fmt.Sprint(i)
			if i%5 == 0 {
				id = "13"
			}
			names, err := c.AgentNames(context.Background(), []string{id})
			if id == "13" {
				assert.True(t, rest.Unavailable(err))
				return
			}
			if assert.NoError(t, err) {
				assert.Equal(t, map[string]string{"n": "in.(" + id + ")"}, names)
			}
		})
	}
	wg.Wait()
}

func TestDebugLinesHoldNoValues(t *testing.T) {
	var out bytes.Buffer
	s := newScript(t, answer(400, `{"code":"22P02","message":"bad tok-secret-value","details":"d-secret","hint":"h-secret"}`))
	c := newClient(t, s, func(o *rest.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	_, err := c.ValidateSession(t.Context(), "tok-secret-value")
	require.Error(t, err)
	assert.Contains(t, out.String(), `op="validate session" status=400`)
	assert.NotContains(t, out.String(), "secret")
	assert.NotContains(t, out.String(), serviceKey)
}
