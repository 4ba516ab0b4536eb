package oracle_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // memory is there, time is not
	goleak.VerifyTestMain(m)
}

// number reads an environment variable.
func number(t *testing.T, name string, standard int) int {
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// tally sums up runs.
type tally struct {
	mu                           sync.Mutex
	runs, owed, early, live, all int
	fired                        map[string]int // runs in which a disturbance struck
}

func TestNothingIsLostDoubledMisorderedOrLeaked(t *testing.T) {
	seeds, first := number(t, "ORACLE_SEEDS", standardSeeds), number(t, "ORACLE_FIRST", 1)
	sum := &tally{fired: make(map[string]int)}
	t.Run("seed", func(t *testing.T) {
		for seed := range seeds {
			seed += first
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				try(t, generate(uint64(seed)), sum)
			})
		}
	})
	sum.report(t)
	if seeds >= 200 {
		sum.check(t)
	}
}

// try plays a scenario in a bubble and judges it.
func try(t *testing.T, s *scenario, sum *tally) {
	synctest.Test(t, func(t *testing.T) {
		r := play(t, s)
		var all []violation
		for _, v := range r.visitors {
			all = append(all, newTrial(r, v).judge()...)
		}
		sum.add(r)
		if len(all) > 0 || t.Failed() {
			r.save(t, all)
			t.Errorf("%s", r.explain(all))
		}
	})
}

func (sum *tally) add(r *run) {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	sum.runs++
	for name := range r.fired {
		sum.fired[name]++
	}
	for _, v := range r.visitors {
		t := newTrial(r, v)
		first := make(map[string]*entry)
		for i := range t.log {
			e := &t.log[i]
			if first[e.message.ID] == nil && e.what == "message" {
				first[e.message.ID] = e
				sum.all++
				if !e.message.Recovered && !e.message.Replayed {
					sum.live++
				}
			}
		}
		for _, id := range t.owed() {
			sum.owed++
			if e := first[id]; e != nil && e.at <= r.drained {
				sum.early++
			}
		}
	}
}

func (sum *tally) report(t *testing.T) {
	t.Logf("%d runs, %d rows owed, %d (%.1f%%) before the final drain, %d of %d messages (%.1f%%) live", sum.runs, sum.owed, sum.early,
		percent(sum.early, sum.owed), sum.live, sum.all, percent(sum.live, sum.all))
	t.Logf("runs in which a disturbance struck: %v", sum.fired)
}

// check makes sure that the runs were worth something: every kind of disturbance struck often enough, and rows came as they were
// written and not only in the end.
func (sum *tally) check(t *testing.T) {
	for _, k := range kinds {
		assert.GreaterOrEqual(t, sum.fired[string(k)], 20, "%s struck too seldom", k)
	}
	for _, a := range actions {
		assert.GreaterOrEqual(t, sum.fired[string(a)], 20, "%s struck too seldom", a)
	}
	assert.GreaterOrEqual(t, percent(sum.early, sum.owed), 95.0, "percent of the rows that came before the final drain")
	assert.GreaterOrEqual(t, percent(sum.live, sum.all), 40.0, "percent of the messages that came over the live channel")
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(1, whole)) }

func TestReplay(t *testing.T) {
	file := os.Getenv("ORACLE_REPLAY")
	if file == "" {
		t.Skip("ORACLE_REPLAY names no saved run")
	}
	s := load(t, file)
	for i := range number(t, "ORACLE_REPEAT", 1) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { try(t, s, &tally{fired: make(map[string]int)}) })
	}
}
