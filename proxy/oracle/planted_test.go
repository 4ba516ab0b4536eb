//go:build planted

package oracle_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
)

// within is how many seeds a planted bug may take to be found.
const within = 200

// find runs seeds, so many at most, until one breaks a promise, and returns how many that took and what was broken. wanted narrows the
// promises down.
func find(t *testing.T, bug string, wanted func(*violation) bool, most int) (seeds int, what string) {
	chat.Plant(bug)
	feed.Plant(bug)
	defer chat.Plant("")
	defer feed.Plant("")
	var found atomic.Pointer[violation]
	var runs atomic.Int64
	t.Run(bug, func(t *testing.T) {
		for seed := range most {
			t.Run(strconv.Itoa(seed+1), func(t *testing.T) {
				t.Parallel()
				if found.Load() != nil {
					return
				}
				runs.Add(1)
				synctest.Test(t, func(t *testing.T) {
					r := play(t, generate(uint64(seed+1)))
					for _, v := range r.visitors {
						for _, broken := range newTrial(r, v).judge() {
							if wanted(&broken) {
								found.Store(&broken)
								return
							}
						}
					}
				})
			})
		}
	})
	if b := found.Load(); b != nil {
		what = b.what
	}
	return int(runs.Load()), what
}

func TestPlantedBugsAreFound(t *testing.T) {
	all := func(*violation) bool { return true }
	for _, bug := range []string{
		"skip the overlap", "forget the hold", "trust the join reply", "drop seen", "ignore the guard",
	} {
		seeds, what := find(t, bug, all, within)
		assert.NotEmptyf(t, what, "%q was not found within %d seeds", bug, within)
		t.Logf("%q: found after %d seeds: %s", bug, seeds, what)
	}
}

func TestTheGuardKeepsWhatABrokenRuleGrants(t *testing.T) {
	leaked := func(b *violation) bool { return b.what == "leaked" }
	_, what := find(t, "break the rule", leaked, 30)
	assert.Empty(t, what)
	_, what = find(t, "ignore the guard", leaked, 30)
	assert.Equal(t, "leaked", what)
}
