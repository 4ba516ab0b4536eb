package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	// The attacked proxy is built by the go command. Its packages are named here so that a result is not kept beyond a change of them.
	_ "github.com/agentopia/realtime-proxy/config"
	_ "github.com/agentopia/realtime-proxy/proxy"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hostile" { // the process that attack starts
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// The small version judges what is no time.
func TestAttackedProxyKeepsItsPromises(t *testing.T) {
	dependOnCommand(t)
	o := attackOptions{
		healthy: 50, addresses: 20, bad: 200, hostileAddresses: 100, rounds: 2, seconds: 2, authorizations: 20, memoryMiB: 128, json: true,
		env: []string{"PROXY_LIMITS_HEADER_TIMEOUT=2s", "PROXY_LIMITS_AUTHENTICATE_TIMEOUT=2s"},
	}
	var out, progress bytes.Buffer
	err := o.run(t.Context(), &out, &progress)
	require.NoError(t, err, "%s\n%s", &out, &progress)
	var r struct {
		Calm, Attacked phaseReport
		Attacks        []outcomes
		Broken         []string
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	assert.Empty(t, r.Broken)
	assert.NotZero(t, r.Calm.Committed)
	assert.NotZero(t, r.Attacked.Committed)
	assert.NotZero(t, r.Attacked.Sent)
	assert.NotZero(t, r.Attacked.Joined)
	assert.Len(t, r.Attacks, len(attacks(1)))
	for _, a := range r.Attacks {
		assert.NotEmpty(t, a.Seen, a.Attack)
	}
}

// dependOnCommand reads the command's own files, which cannot be imported: the go command notes what a test opens.
func dependOnCommand(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob("../realtime-proxy/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		_, err := os.ReadFile(name)
		require.NoError(t, err)
	}
}

func TestReportTellsWhatWasBroken(t *testing.T) {
	kept := func() *report {
		one := footprint{ResidentBytes: 50 << 20, Goroutines: 100, Descriptors: 100}
		r := &report{
			options: &attackOptions{rounds: 1, seconds: 10, authorizations: 20, memoryMiB: 128},
			calm:    &phase{}, attacked: &phase{}, Before: one, Peak: one, After: one,
			Outcomes: []*outcomes{{Attack: "slow header", Seen: map[string]int{cut: 3}, Allowed: []string{cut}}},
		}
		r.Authorizations.Mean, r.Authorizations.Most = 20, 21
		return r
	}
	tests := []struct {
		name   string
		spoil  func(r *report)
		broken string
	}{
		{"nothing", func(*report) {}, ""},
		{"refused", func(r *report) { r.attacked.refused("join", errBroken) },
			"1 healthy visitors were refused in the attacked phases: join: the proxy broke a promise"},
		{"lost", func(r *report) { r.calm.count(&r.calm.committed) }, "1 rows were committed in the calm phases and 0 arrived"},
		{"authorisations", func(r *report) { r.Authorizations.Mean = 22.1 }, "Supabase saw 22.1 authorisations of sessions a second, of 20"},
		{"links", func(r *report) { r.Links.Mean = 22.1 }, "Supabase saw 22.1 authorisations of links a second, of 20"},
		{"answer", func(r *report) { r.Outcomes[0].Seen["HTTP/1.1 200 OK"] = 2 }, `slow header: "HTTP/1.1 200 OK" was answered 2 times`},
		{"not played", func(r *report) { clear(r.Outcomes[0].Seen) }, "slow header: not played"},
		{"memory", func(r *report) { r.AddedBytes = 150 << 20 }, "the attack added 150 MiB of memory"},
		{"goroutines", func(r *report) { r.After.Goroutines = 121 }, "121 goroutines and 100 descriptors are left of 100 and 100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := kept()
			tt.spoil(r)
			r.judge()
			var out bytes.Buffer
			require.NoError(t, r.print(&out, false))
			if tt.broken == "" {
				assert.Empty(t, r.Broken)
				assert.Contains(t, out.String(), "every promise was kept")
				return
			}
			assert.Equal(t, []string{tt.broken}, r.Broken)
			assert.Contains(t, out.String(), "BROKEN: "+tt.broken)
		})
	}
}

func TestQuantileOfLatencies(t *testing.T) {
	p := &phase{}
	assert.Zero(t, p.quantile(0.5))
	for i := range 100 {
		p.arrived(time.Duration(100-i) * time.Millisecond)
	}
	assert.Equal(t, 51*time.Millisecond, p.quantile(0.5))
	assert.Equal(t, 100*time.Millisecond, p.quantile(0.99))
}

func TestRoundsAreAddedUp(t *testing.T) {
	all := &phase{}
	assert.Zero(t, all.report())
	for _, took := range []time.Duration{3 * time.Millisecond, time.Millisecond, 7 * time.Millisecond} {
		one := &phase{committed: 1, joined: 2, sent: 3, used: processorTime{total: 10, idle: 5, stolen: 1}}
		one.arrived(took)
		one.refused("join", errBroken)
		all.add(one)
	}
	assert.Equal(t, phaseReport{
		P50: 3, P99: 7, MedianP99: 3, Busy: 0.4, Stolen: 0.1, Committed: 3, Arrived: 3, Joined: 6, Sent: 9, Refused: 3,
		Reasons: slices.Repeat([]string{"join: " + errBroken.Error()}, 3),
	}, all.report())

	first := []*outcomes{{Attack: "a", Seen: map[string]int{cut: 1}}}
	assert.Equal(t, first, merged(nil, first))
	merged(first, []*outcomes{{Attack: "a", Seen: map[string]int{cut: 2, "401": 3}}})
	assert.Equal(t, map[string]int{cut: 3, "401": 3}, first[0].Seen)
}

func TestWireIsKeptAndOpenedAgain(t *testing.T) {
	accepted := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, r.Method == http.MethodPost, string(body) == "{}")
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusTeapot)
		_, err = io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n") // not to be taken for the next answer
		assert.NoError(t, err)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted++
		}
	}
	server.Start()
	defer server.Close()
	s := newSource(hostileNetwork, 0, 1)
	defer s.closeWires()
	for i, start := range []string{"GET /", "POST /", "GET /last", "GET /"} {
		body := map[bool]string{true: "{}"}[strings.HasPrefix(start, "POST")]
		status, err := s.ask(t.Context(), server.Listener.Addr().String(), start, body)
		require.NoError(t, err)
		assert.Equal(t, "418", status)
		assert.Len(t, s.wires, map[bool]int{true: 0, false: 1}[i == 2], start)
	}
	server.CloseClientConnections()
	status, err := s.ask(t.Context(), server.Listener.Addr().String(), "GET /", "")
	require.NoError(t, err)
	assert.Equal(t, "418", status)
	server.Close()
	assert.Equal(t, 3, accepted)
}

func TestWireRefusesWhatIsNoAnswer(t *testing.T) {
	for name, text := range map[string]string{
		"no protocol":         "hello\r\n\r\n",
		"short":               "HTTP/1.1 20\r\n\r\n",
		"no length":           "HTTP/1.1 200 OK\r\n\r\n",
		"length not a number": "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"length below zero":   "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
		"cut in the header":   "HTTP/1.1 200 OK\r\nContent-Le",
		"cut in the body":     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
	} {
		t.Run(name, func(t *testing.T) {
			_, kept, err := (&wire{r: bufio.NewReader(strings.NewReader(text))}).answer()
			assert.Error(t, err)
			assert.False(t, kept)
		})
	}
}

func TestStampOfARowIsFound(t *testing.T) {
	at, ok := committedAt([]byte(`data: {"content":"` + stamp + `1700000000000000001"}`))
	require.True(t, ok)
	assert.Equal(t, int64(1700000000000000001), at.UnixNano())
	for _, text := range []string{"", stamp, stamp + "1", stamp + "x\n", "data: hello"} {
		_, ok := committedAt([]byte(text))
		assert.False(t, ok, text)
	}
}

func TestWrongCommandLineIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"attack", "--healthy=0"}, {"attack", "--seconds=x"}, {"attack", "more"}, {"defend"}, {"attack", "--memory=-1"},
		{"attack", "--rounds=0"}, {"hostile", "--hostile-addresses=0"}, {"hostile", "--seconds=0"},
	} {
		root := newRootCommand()
		root.SetArgs(args)
		root.SetOut(&bytes.Buffer{})
		assert.Equal(t, 2, exitStatus(root.ExecuteContext(t.Context())), args)
	}
}

func TestProxyThatDoesNotStartIsTold(t *testing.T) {
	o := attackOptions{
		healthy: 1, addresses: 1, bad: 1, hostileAddresses: 1, rounds: 1, seconds: 1, authorizations: 20, memoryMiB: 128, proxy: "/bin/false",
	}
	if _, err := os.Stat(o.proxy); err != nil {
		t.Skip(err)
	}
	assert.ErrorContains(t, o.run(t.Context(), &bytes.Buffer{}, &bytes.Buffer{}), "the proxy ended as it started")
}
