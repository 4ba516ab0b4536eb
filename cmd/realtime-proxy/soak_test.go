package main_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSoak plays every fault that matters on real sockets and processes: two nodes, one of which is now and then killed or drained, a relay
// between each of them and the stand-in, and visitors on every transport who come back to either node with their cursor. Nobody may lose
// a row, get one twice, out of order, or one that is not theirs. How soon faults are noticed and healed is measured, and not judged.
//
// SOAK_SECONDS is the time for faults, 60 by default (a round of all kinds is always finished); SOAK_SEED repeats a plan, though not its
// timing; SOAK_REPORT names a file for the figures.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	t.Parallel()
	seed := soakSetting(t, "SOAK_SEED", rand.Uint64()>>1)
	length := time.Duration(soakSetting(t, "SOAK_SECONDS", 60)) * time.Second
	t.Logf("SOAK_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newSoakWorld(t, random)
	ctx, cancel := context.WithTimeout(t.Context(), 3*length+8*time.Minute)
	defer cancel()
	require.NoError(t, w.firstRound(ctx))
	before := w.idle(ctx)

	d := &soakDriver{w: w, random: random}
	began := time.Now()
	soakRun(ctx, t, d, length)
	took := time.Since(began)

	var wrong []string
	for _, v := range w.visitors {
		wrong = append(wrong, d.verdict(v)...)
	}
	wrong = append(wrong, d.stillServed(ctx)...)
	for i, text := range wrong {
		if assert.Fail(t, text); i == 50 {
			t.Logf("and %d more", len(wrong)-i)
			break
		}
	}
	d.report(seed, took).show(t)
	w.checkAlarms(ctx)
	w.checkIdle(ctx, before)
}

// checkAlarms expects that what must be 0 for ever is.
func (w *soakWorld) checkAlarms(ctx context.Context) {
	for i, n := range w.nodes {
		const guard, withheld = "realtime_proxy_hub_guard_refusals_total", "realtime_proxy_feed_withheld_total"
		m, err := n.metrics(ctx, guard, withheld)
		require.NoError(w.t, err)
		assert.Zero(w.t, m[guard], "node %d", i)
		assert.Zero(w.t, m[withheld], "node %d", i)
	}
}

func soakSetting(t *testing.T, name string, standard uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 63)
	require.NoError(t, err, name)
	return n
}

// soakRun lets visitors and writers in, plays the faults, and waits until nothing is owed any more.
func soakRun(ctx context.Context, t *testing.T, d *soakDriver, length time.Duration) {
	w := d.w
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	visiting, leave := context.WithCancel(ctx)
	writing, stop := context.WithCancel(ctx)
	var visitors, writers sync.WaitGroup
	defer visitors.Wait()
	defer leave()
	defer writers.Wait()
	defer stop()
	for _, v := range w.visitors {
		visitors.Go(func() { v.run(visiting) })
	}
	for i := range soakWriters {
		random := rand.New(rand.NewPCG(d.random.Uint64(), uint64(i)))
		writers.Go(func() {
			if !assert.NoError(t, w.write(writing, random)) {
				fail() // without rows nothing is noticed
			}
		})
	}
	require.True(t, until(ctx, time.Minute, w.welcomed), "not everybody was greeted")
	d.drive(ctx, length)
	stop()
	writers.Wait()
	until(ctx, 150*time.Second, w.settled) // what is not is found by the verdict
	pause(ctx, 3*time.Second)              // for what should not come any more
}

// welcomed reports whether every visitor has been greeted.
func (w *soakWorld) welcomed() bool {
	for _, v := range w.visitors {
		v.mu.Lock()
		n := len(v.visits)
		v.mu.Unlock()
		if n == 0 {
			return false
		}
	}
	return true
}

// usual is what a node holds most of the time while nobody is there: reads come and go, and the question itself is being answered.
// Connections that wait for a next request are ended, because their number only tells how busy it once was; one that never had a
// request only goes after 5 s.
func (w *soakWorld) usual(ctx context.Context, n *soakNode, samples int) (most footprint) {
	counts := make(map[footprint]int)
	for range samples {
		w.http.SetKeepAlivesEnabled(false)
		f, err := n.footprint(ctx)
		require.NoError(w.t, err)
		if counts[f]++; counts[f] > counts[most] {
			most = f
		}
		require.True(w.t, pause(ctx, 50*time.Millisecond))
	}
	return most
}

// idle is what each node holds before its visitors.
func (w *soakWorld) idle(ctx context.Context) (all []footprint) {
	defer w.http.SetKeepAlivesEnabled(true)
	w.http.SetKeepAlivesEnabled(false)
	require.True(w.t, pause(ctx, 5*time.Second))
	for _, n := range w.nodes {
		all = append(all, w.usual(ctx, n, 40))
	}
	return all
}

// checkIdle expects that every node, restarted or not, comes back to what it held before the visitors.
func (w *soakWorld) checkIdle(ctx context.Context, before []footprint) {
	for i, n := range w.nodes {
		var now footprint
		same := until(ctx, 30*time.Second, func() bool {
			now = w.usual(ctx, n, 40)
			return now == before[i]
		})
		assert.True(w.t, same, "node %d held %+v before its visitors and holds %+v after them", i, before[i], now)
	}
}
