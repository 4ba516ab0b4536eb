package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
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
	o := attackOptions{
		healthy: 50, addresses: 20, bad: 200, hostileAddresses: 100, seconds: 3, authorizations: 20, memoryMiB: 128, json: true,
		env: []string{"PROXY_LIMITS_HEADER_TIMEOUT=2s", "PROXY_LIMITS_AUTHENTICATE_TIMEOUT=2s"},
	}
	var out, progress bytes.Buffer
	err := o.run(t.Context(), &out, &progress)
	require.NoError(t, err, "%s\n%s", &out, &progress)
	var r struct {
		Calm, Neighbour, Attacked phaseReport
		Attacks                   []outcomes
		Broken                    []string
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	assert.Empty(t, r.Broken)
	assert.NotZero(t, r.Neighbour.Committed)
	assert.NotZero(t, r.Attacked.Committed)
	assert.NotZero(t, r.Attacked.Sent)
	assert.NotZero(t, r.Attacked.Joined)
	assert.Len(t, r.Attacks, len(attacks(1)))
	for _, a := range r.Attacks {
		assert.NotEmpty(t, a.Seen, a.Attack)
	}
}

func TestReportTellsWhatWasBroken(t *testing.T) {
	kept := func() *report {
		one := footprint{ResidentBytes: 50 << 20, Goroutines: 100, Descriptors: 100}
		r := &report{
			options: &attackOptions{seconds: 10, authorizations: 20, memoryMiB: 128},
			calm:    &phase{}, neighbour: &phase{}, attacked: &phase{}, Before: one, Peak: one, After: one,
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
			"1 healthy visitors were refused in the attacked phase: join: the proxy broke a promise"},
		{"lost", func(r *report) { r.calm.count(&r.calm.committed) }, "1 rows were committed in the calm phase and 0 arrived"},
		{"authorisations", func(r *report) { r.Authorizations.Mean = 22.1 }, "Supabase saw 22.1 authorisations a second, of 20"},
		{"answer", func(r *report) { r.Outcomes[0].Seen["HTTP/1.1 200 OK"] = 2 }, `slow header: "HTTP/1.1 200 OK" was answered 2 times`},
		{"not played", func(r *report) { clear(r.Outcomes[0].Seen) }, "slow header: not played"},
		{"memory", func(r *report) { r.Peak.ResidentBytes = 200 << 20 }, "the attack added 150 MiB of memory"},
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
	} {
		root := newRootCommand()
		root.SetArgs(args)
		root.SetOut(&bytes.Buffer{})
		assert.Equal(t, 2, exitStatus(root.ExecuteContext(t.Context())), args)
	}
}

func TestProxyThatDoesNotStartIsTold(t *testing.T) {
	o := attackOptions{
		healthy: 1, addresses: 1, bad: 1, hostileAddresses: 1, seconds: 1, authorizations: 20, memoryMiB: 128, proxy: "/bin/false",
	}
	if _, err := os.Stat(o.proxy); err != nil {
		t.Skip(err)
	}
	assert.ErrorContains(t, o.run(t.Context(), &bytes.Buffer{}, &bytes.Buffer{}), "the proxy ended as it started")
}
