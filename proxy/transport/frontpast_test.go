package transport_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestPastIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := transport.NewPast(2 * time.Minute)
		p.Keep("one", "a", "1")
		p.Keep("one", "a", "2")
		p.Keep("one", "b", "")
		assert.Equal(t, "1", p.Take("one", "a"), "the oldest first")
		assert.Equal(t, "2", p.Take("one", "a"))
		assert.Empty(t, p.Take("one", "a"))
		assert.Empty(t, p.Take("one", "b"), "no cursor is none")

		for i := range 150 {
			p.Keep("one", fmt.Sprint(i), "x")
		}
		assert.Equal(t, 100, p.Len(), "of one session")
		assert.Empty(t, p.Take("one", "49"))
		assert.Equal(t, "x", p.Take("one", "50"))
		for i := range 10_000 {
			p.Keep(fmt.Sprint(i), "a", "x")
		}
		assert.Equal(t, 4096, p.Len())
		assert.Empty(t, p.Take("one", "149"), "the oldest went")

		time.Sleep(2*time.Minute + 1)
		assert.Empty(t, p.Take("9999", "a"))
		assert.Zero(t, p.Len())
	})
}

func TestBucketLetsTwiceTheRateThroughAtOnce(t *testing.T) {
	var b transport.Bucket
	now := time.Now()
	count := func() (n int) {
		for b.Take(10, now) {
			n++
		}
		return n
	}
	assert.Equal(t, 20, count())
	now = now.Add(300 * time.Millisecond)
	assert.Equal(t, 3, count())
	now = now.Add(time.Hour)
	assert.Equal(t, 20, count())
}
