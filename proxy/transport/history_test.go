package transport_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// readingRig counts deliveries that read the table back. cursor is one from before a restart, which no window covers.
func readingRig(t *testing.T) (g *rig, cursor string, reads *atomic.Int32) {
	t.Helper()
	g = newRig(t, nil)
	cursor = poll(t, g, "", "").Cursor
	g.restart()
	reads = &atomic.Int32{}
	g.backfiller.deliver = func(context.Context) error { reads.Add(1); return nil } // of which each reads
	return g, cursor, reads
}

func TestPollsWithAnOldCursorReadSoOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cursor, reads := readingRig(t)
		began := time.Now()
		var crowd sync.WaitGroup
		for range 4 {
			crowd.Go(func() {
				for time.Since(began) < 5*time.Second {
					code := do(g, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+rigToken).Code
					assert.Equal(t, 200, code, "it takes a while")
				}
			})
		}
		crowd.Wait()
		assert.InDelta(t, 20+5*10, reads.Load(), 4)
		began = time.Now()
		assert.Equal(t, 200, do(g, "GET", pollPath, "", "Authorization", "Bearer "+otherToken).Code)
		assert.Zero(t, time.Since(began), "another session")
	})
}

func TestReadingsThatWouldHaveToWaitTooLongAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cursor, reads := readingRig(t)
		for range 150 { // who hangs up has asked all the same
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			doContext(ctx, g, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+rigToken)
			cancel()
		}
		assert.EqualValues(t, 19, reads.Load(), "and the one that brought the cursor")
		refused := g.value("limits_reached_total", "limit", "histories_per_second")
		assert.Positive(t, refused)
		w := do(g, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+rigToken)
		assert.Equal(t, 429, w.Code)
		assert.Contains(t, w.Body.String(), `"too_many_reads"`)
		assert.EqualValues(t, refused+1, g.value("limits_reached_total", "limit", "histories_per_second"))
		stream := do(g, "GET", eventsPath+"&cursor="+cursor, "")
		assert.Contains(t, stream.Body.String(), `"too_many_reads"`)
		time.Sleep(10 * time.Second)
		assert.Equal(t, 200, do(g, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+rigToken).Code)
	})
}
