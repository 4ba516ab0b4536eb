package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// callFrom calls the links' function by way of a trusted proxy.
func callFrom(t *testing.T, n *node, address, path, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.base+"/functions/v1/temporary-chat-api/"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", address)
	resp, err := http.DefaultClient.Do(req)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	return resp.StatusCode, string(answer)
}

func TestVisitorOpensASessionBesideACrowdWithUnknownLinks(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) {
		o.Limits, o.Supabase.AuthorizePerSecond = proxy.Limits{}, 20
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	w.standin.Faults().Set(standin.Fault{Kind: standin.SlowHTTP, Match: "/functions/v1/temporary-chat-api", Delay: 100 * time.Millisecond})
	calls := func() int { return w.standin.Faults().Fired(standin.SlowHTTP) }
	open := func(address string, link standin.FixtureLink) {
		status, body := callFrom(t, n, address, "create-session", `{"link_token":"`+link.Token+`"}`)
		assert.Equal(t, http.StatusCreated, status, body)
	}
	open("192.0.2.1", w.fixture.Isolated)
	before, began := calls(), time.Now()
	var crowd sync.WaitGroup
	for i := range 400 {
		crowd.Go(func() {
			status, body := callFrom(t, n, fmt.Sprintf("10.0.%d.%d", i/250, i%250), "validate", fmt.Sprintf(`{"token":"wrong-link-number-%08d"}`, i))
			assert.Contains(t, []int{http.StatusNotFound, http.StatusServiceUnavailable}, status, body)
		})
	}
	require.Eventually(t, func() bool { return calls() >= before+20 }, hostilePatience, time.Millisecond, "the crowd has its turns")
	open("192.0.2.2", w.fixture.Isolated)   // from anywhere, on a link that is known to be good
	open("192.0.2.1", w.fixture.Contextual) // on another, from where such a link was opened
	crowd.Wait()
	const ofOpen = 3 // calls
	assert.LessOrEqual(t, calls()-before-ofOpen, 20*int(time.Since(began)/time.Second+2))
	assert.Greater(t, metric(t, n, `realtime_proxy_transport_limits_reached_total{limit="authorize_per_second"}`), 100.0)
}
