package functions_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/supabase/functions"
)

const anonKey = "header.payload.signature-of-the-anon-key"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc, change ...func(*functions.Options)) *functions.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	opts := functions.Options{URL: server.URL, Key: anonKey}
	for _, f := range change {
		f(&opts)
	}
	c, err := functions.New(opts)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

var validate = functions.Request{Function: "temporary-chat-api", Path: "validate", Body: []byte(`{"token":"visitor-secret"}`)}

func TestCallSendsTheRequestAndReturnsTheAnswer(t *testing.T) {
	var seen *http.Request
	var body []byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Clone(context.Background())
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"success":true}`)
	}, func(o *functions.Options) { o.URL += "/prefix/" })
	r := validate
	r.Header = http.Header{
		"content-type": {"application/json"}, "X-Forwarded-For": {"203.0.113.9"},
		"Authorization": {"Bearer other"}, "User-Agent": {"Mozilla/5.0"},
		"Connection": {"upgrade"}, "upgrade": {"websocket"}, "Accept-Encoding": {"br"}, "Host": {"evil.example"},
	}
	got, err := c.Call(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, 201, got.Status)
	assert.Equal(t, "yes", got.Header.Get("X-Answer"))
	assert.JSONEq(t, `{"success":true}`, string(got.Body))

	assert.Equal(t, "POST", seen.Method)
	assert.Equal(t, "/prefix/functions/v1/temporary-chat-api/validate", seen.URL.Path)
	assert.Empty(t, seen.URL.RawQuery)
	assert.Equal(t, string(validate.Body), string(body))
	for name, want := range map[string][]string{
		"Content-Type": {"application/json"}, "X-Forwarded-For": {"203.0.113.9"}, "Apikey": {anonKey},
		"Authorization": {"Bearer " + anonKey}, "User-Agent": {"realtime-proxy"}, "Accept-Encoding": {"gzip"},
		"Connection": nil, "Upgrade": nil,
	} {
		assert.Equal(t, want, seen.Header.Values(name), name)
	}
	assert.NotEqual(t, "evil.example", seen.Host)
	assert.Len(t, r.Header, 8, "the caller's header is left alone")
}

func TestCallWithoutKeyLeavesTheCallersAuthorization(t *testing.T) {
	var seen http.Header
	var method string
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen, method = r.Header.Clone(), r.Method }, func(o *functions.Options) {
		o.Key, o.UserAgent = "", "test/1"
	})
	got, err := c.Call(t.Context(), functions.Request{
		Function: "temporary-chat-api", Method: http.MethodGet, Header: http.Header{"Authorization": {"Bearer page"}},
	})
	require.NoError(t, err)
	assert.Equal(t, 200, got.Status)
	assert.Empty(t, got.Body)
	assert.Equal(t, "GET", method)
	assert.Equal(t, "Bearer page", seen.Get("Authorization"))
	assert.Equal(t, "test/1", seen.Get("User-Agent"))
	assert.Empty(t, seen.Values("Apikey"))
}

func TestAnswersOfAnyStatusAreReturned(t *testing.T) {
	for _, status := range []int{200, 400, 401, 404, 410, 429, 500, 502, 503, 546} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>")
		})
		got, err := c.Call(t.Context(), validate)
		require.NoError(t, err)
		assert.Equal(t, status, got.Status)
		assert.Equal(t, "<html>", string(got.Body))
		assert.Equal(t, "3", got.Header.Get("Retry-After"))
	}
}

func TestNamesOutsideTheFormAreRefusedBeforeSending(t *testing.T) {
	called := false
	c := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	for name, r := range map[string]functions.Request{
		"no function":         {},
		"function with slash": {Function: "a/b"},
		"function upwards":    {Function: ".."},
		"function with query": {Function: "a?x=1"},
		"escaped function":    {Function: "%2e%2e"},
		"upper case":          {Function: "Chat"},
		"line break":          {Function: "chat\n"},
		"path upwards":        {Function: "chat", Path: "../other"},
		"path with dot":       {Function: "chat", Path: "a.b"},
		"path from the root":  {Function: "chat", Path: "/a"},
		"path with end slash": {Function: "chat", Path: "a/"},
		"empty segment":       {Function: "chat", Path: "a//b"},
		"path with fragment":  {Function: "chat", Path: "a#b"},
		"method":              {Function: "chat", Method: "CONNECT"},
		"odd method":          {Function: "chat", Method: "POST /x HTTP/1.1\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Call(t.Context(), r)
			require.ErrorIs(t, err, functions.ErrInvalidArgument)
			assert.False(t, functions.Unavailable(err))
		})
	}
	assert.False(t, called)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		_, err := c.Call(t.Context(), validate)
		e, ok := errors.AsType[*functions.Error](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, functions.CodeRedirect, e.Code)
		assert.Equal(t, status, e.Status)
		assert.True(t, functions.Unavailable(err))
	}
	assert.False(t, followed)
}

func TestFailedCallsAreUnavailable(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	short := func(o *functions.Options) { o.Timeout = 30 * time.Millisecond }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		options func(*functions.Options)
		code    string
		is      error
	}{
		"dropped": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, functions.CodeNetwork, nil},
		"dropped inside the answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, nil, functions.CodeNetwork, io.ErrUnexpectedEOF},
		"slow": {hang, short, functions.CodeTimeout, context.DeadlineExceeded},
		"slow inside the answer": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, short, functions.CodeTimeout, context.DeadlineExceeded},
		"oversize": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345678901") },
			func(o *functions.Options) { o.MaxBody = 10 }, functions.CodeBodyTooLarge, nil,
		},
		"oversize when unpacked": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte("a"), 1<<16))
			_ = z.Close()
		}, func(o *functions.Options) { o.MaxBody = 1 << 10 }, functions.CodeBodyTooLarge, nil},
		"refused": {hang, func(o *functions.Options) { o.URL = "http://127.0.0.1:1" }, functions.CodeNetwork, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*functions.Options)
			if c.options != nil {
				change = append(change, c.options)
			}
			got, err := serve(t, c.handler, change...).Call(t.Context(), validate)
			assert.Nil(t, got)
			e, ok := errors.AsType[*functions.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.code, e.Code)
			assert.Equal(t, "temporary-chat-api", e.Function)
			assert.True(t, functions.Unavailable(fmt.Errorf("above: %w", err)))
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			for _, secret := range []string{"http:", "visitor-secret", anonKey} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}

func TestCancelledCallEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	_, err := c.Call(ctx, validate)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "call function temporary-chat-api: code canceled", err.Error())
}

func TestConcurrentCallsDoNotMixAnswers(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "7" {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body)
	})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := fmt.Sprint(i % 10)
			got, err := c.Call(context.Background(), functions.Request{Function: "echo", Body: []byte(body)})
			if body == "7" {
				assert.True(t, functions.Unavailable(err))
			} else if assert.NoError(t, err) {
				assert.Equal(t, body, string(got.Body))
			}
		})
	}
	wg.Wait()
}

func TestDebugLinesHoldNoValues(t *testing.T) {
	var out bytes.Buffer
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer-secret") }, func(o *functions.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	_, err := c.Call(t.Context(), validate)
	require.NoError(t, err)
	assert.Contains(t, out.String(), "function=temporary-chat-api status=200")
	assert.NotContains(t, out.String(), "secret")
	assert.NotContains(t, out.String(), anonKey)
}

func TestNewRefusesUnusableOptions(t *testing.T) {
	for name, c := range map[string]struct {
		opts functions.Options
		want string
	}{
		"no URL":           {functions.Options{}, "needs the form"},
		"other scheme":     {functions.Options{URL: "ws://host"}, "needs the form"},
		"malformed URL":    {functions.Options{URL: "http://[secret"}, "malformed"},
		"user in URL":      {functions.Options{URL: "http://u:secret@host"}, "may not hold"},
		"query in URL":     {functions.Options{URL: "http://host?secret"}, "may not hold"},
		"line break":       {functions.Options{URL: "http://host", Key: "secret\r\n"}, "not printable"},
		"user agent":       {functions.Options{URL: "http://host", UserAgent: "secret\n"}, "not printable"},
		"negative timeout": {functions.Options{URL: "http://host", Timeout: -1}, "negative"},
		"negative body":    {functions.Options{URL: "http://host", MaxBody: -1}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := functions.New(c.opts)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func FuzzRequestNames(f *testing.F) {
	f.Add("temporary-chat-api", "validate")
	f.Add("..", "a//b")
	f.Add("a?b", "%2f")
	f.Fuzz(func(t *testing.T, function, path string) {
		sent := ""
		c, err := functions.New(functions.Options{URL: "http://upstream.test", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			sent = r.URL.String()
			return nil, context.Canceled
		})})
		require.NoError(t, err)
		_, err = c.Call(t.Context(), functions.Request{Function: function, Path: path})
		require.Error(t, err)
		if sent == "" {
			require.ErrorIs(t, err, functions.ErrInvalidArgument)
			return
		}
		rest, ok := strings.CutPrefix(sent, "http://upstream.test/functions/v1/")
		require.True(t, ok)
		require.Regexp(t, `^[a-z0-9-]+(/[a-z0-9-]+)*$`, rest)
		require.True(t, rest == function || rest == function+"/"+path)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAddressIsNamedWhereGatewaysLeaveItAlone(t *testing.T) {
	ray := ""
	var seen []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Cf-Connecting-Ip"))
		if ray != "" {
			w.Header().Set("Cf-Ray", ray)
		}
	})
	call := func(header http.Header) {
		r := validate
		r.Header = header
		_, err := c.Call(t.Context(), r)
		require.NoError(t, err)
	}
	address := http.Header{"X-Real-Ip": {"203.0.113.9"}}
	call(address) // nothing is known of the way yet
	call(address)
	call(nil)
	ray = "230b030023ae2822-SJC"
	call(address)
	call(address)
	assert.Equal(t, []string{"", "203.0.113.9", "", "203.0.113.9", ""}, seen)
	assert.Len(t, address, 1, "the caller's header is left alone")
}
