package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	validationPath  = "/rest/v1/rpc/validate_temp_chat_session"
	validatedMetric = `realtime_proxy_session_validations_total{result="invalid"}`
	triesOfAMinute  = 20 // by default
)

// startLimited runs a proxy with the default limits whose validations take a moment.
func startLimited(t *testing.T, w *world) *node {
	t.Helper()
	n := w.start(func(o *proxy.Options) { o.Limits, o.Supabase.AuthorizePerSecond = proxy.Limits{}, 20 })
	w.standin.Faults().Set(standin.Fault{Kind: standin.SlowHTTP, Match: validationPath, Delay: 20 * time.Millisecond})
	return n
}

func wrongToken(i int) string { return fmt.Sprintf("wrong-token-number-%08d", i) }

func TestTriesAtOnceOfOneAddressAreFew(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := startLimited(t, w)
	const crowd = 150
	statuses := make([]int, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			resp, err := http.Post(n.base+"/temporary-chat-ticket", "application/json", strings.NewReader(`{"session_token":"`+wrongToken(i)+`"}`))
			if assert.NoError(t, err) {
				resp.Body.Close()
				statuses[i] = resp.StatusCode
			}
		})
	}
	wg.Wait()
	counts := make(map[int]int)
	for _, status := range statuses {
		counts[status]++
	}
	assert.Equal(t, map[int]int{401: triesOfAMinute, 429: crowd - triesOfAMinute}, counts)
	assert.EqualValues(t, triesOfAMinute, metric(t, n, validatedMetric))
}

func TestVisitorsOfOneAddressAllComeInAtOnce(t *testing.T) {
	const visitors = 45 // more than may fail in a minute, fewer than an address may have streams
	w := newWorld(t, standin.Options{})
	all := make([]*proxytest.Visitor, visitors)
	n := startLimited(t, w)
	for i := range all {
		all[i] = &proxytest.Visitor{Base: n.base, Token: newSession(t, w)}
	}
	var wg sync.WaitGroup
	for _, v := range all {
		wg.Go(func() {
			events, err := v.Events(w.ctx, proxytest.EventsOptions{})
			if !assert.NoError(t, err) {
				return
			}
			defer events.Close()
			_, err = events.Until("connected")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Zero(t, metric(t, n, `realtime_proxy_transport_limits_reached_total{limit="failed_tokens_per_minute"}`))
}

// newSession has the functions of the project, not the proxy, open a session, and returns its token.
func newSession(t *testing.T, w *world) string {
	t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.url+"/functions/v1/temporary-chat-api/create-session",
		strings.NewReader(`{"link_token":"`+w.fixture.Isolated.Token+`"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+w.anonKey)
	req.Header.Set("apikey", w.anonKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body struct {
		Data struct {
			Session struct {
				Token string `json:"session_token"`
			} `json:"session"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	require.NotEmpty(t, body.Data.Session.Token, resp.Status)
	return body.Data.Session.Token
}

func dialSocket(t *testing.T, n *node, path string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(n.base, "http")+path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// leaver leaves the channel that is being joined, and stays.
type leaver struct{ conn *websocket.Conn }

func (l leaver) Close() error {
	return l.conn.WriteMessage(websocket.TextMessage, []byte(`["1","2","realtime:room","phx_leave",{}]`))
}

// Whoever goes away before the answer has tried all the same: what is asked of the database goes on.
func TestTriesOfWhoHangsUpCount(t *testing.T) {
	for name, try := range map[string]func(t *testing.T, n *node, token string) io.Closer{
		"request": func(t *testing.T, n *node, token string) io.Closer {
			conn := hostile{t, n}.connect()
			_, err := fmt.Fprintf(conn, "GET /temporary-chat-messages?session_token=%s HTTP/1.1\r\nHost: x\r\n\r\n", token)
			require.NoError(t, err)
			return conn
		},
		"WebSocket": func(t *testing.T, n *node, token string) io.Closer {
			conn := dialSocket(t, n, "/temporary-chat-websocket")
			require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"authenticate","sessionToken":"`+token+`"}`)))
			return conn
		},
		"Realtime channel": func(t *testing.T, n *node, token string) io.Closer {
			conn := dialSocket(t, n, "/realtime/v1/websocket?vsn=2.0.0")
			require.NoError(t, conn.WriteMessage(websocket.TextMessage,
				[]byte(`["1","1","realtime:room","phx_join",{"config":{},"access_token":"`+token+`"}]`)))
			return leaver{conn}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			n := startLimited(t, w)
			for i := range triesOfAMinute {
				gone := try(t, n, wrongToken(i))
				require.Eventually(t, func() bool { return w.standin.Faults().Fired(standin.SlowHTTP) > i }, hostilePatience, time.Millisecond)
				require.NoError(t, gone.Close())
			}
			assert.Eventually(t, func() bool { return metric(t, n, validatedMetric) == triesOfAMinute }, hostilePatience, 10*time.Millisecond)
			assert.Equal(t, http.StatusTooManyRequests, hostile{t, n}.try("").StatusCode)
			assert.EqualValues(t, triesOfAMinute, metric(t, n, validatedMetric))
		})
	}
}
