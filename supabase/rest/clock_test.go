package rest_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// dated is an answer sent and received at local times after the start, by a server whose clock differs by offset and
// which reads it halfway.
type dated struct {
	sent, received time.Duration
	offset         time.Duration
}

func TestClockEstimatesTheServer(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for name, c := range map[string]struct {
		answers []dated
		offset  time.Duration // real offset at the end
		within  time.Duration // largest error of the estimate
	}{
		"no answer":                       {nil, 0, 0},
		"one answer":                      {[]dated{{0, 10 * ms, 5 * s}}, 5 * s, 600 * ms},
		"a server behind":                 {[]dated{{0, 10 * ms, -90 * s}}, -90 * s, 600 * ms},
		"a slow answer":                   {[]dated{{0, 4 * s, 0}}, 0, 2600 * ms},
		"a slow and a fast answer":        {[]dated{{0, 4 * s, 7 * s}, {5 * s, 5*s + 2*ms, 7 * s}}, 7 * s, 600 * ms},
		"answers on both sides of a tick": {[]dated{{990 * ms, 991 * ms, 0}, {1005 * ms, 1006 * ms, 0}}, 0, 20 * ms},
		"answers out of order":            {[]dated{{1005 * ms, 1006 * ms, 0}, {990 * ms, 991 * ms, 0}}, 0, 20 * ms},
		"the server's clock is set":       {[]dated{{0, ms, 0}, {300 * ms, 301 * ms, 0}, {2 * s, 2*s + ms, 60 * s}}, 60 * s, 600 * ms},
		"and set back":                    {[]dated{{0, ms, 60 * s}, {2 * s, 2*s + ms, 0}}, 0, 600 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, start := rest.NewTestClock(), time.Now()
				for _, a := range c.answers {
					halfway := start.Add((a.sent + a.received) / 2)
					clock.Observe(start.Add(a.sent), start.Add(a.received), halfway.Add(a.offset).Truncate(time.Second))
				}
				time.Sleep(10 * time.Second)
				now := time.Now()
				assert.WithinDuration(t, now.Add(c.offset), clock.Now(), c.within)
				assert.False(t, clock.Reached(now).After(now.Add(c.offset)), "the sure bound lies in the future")
				assert.WithinDuration(t, clock.Now(), clock.Reached(now), c.within+time.Second)
			})
		})
	}
}

func TestClientLearnsTheClockFromItsAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		header  http.Header
		learned bool
	}{
		"a page":                   {200, http.Header{}, true},
		"an error of the server":   {404, http.Header{}, true},
		"an error of a gateway":    {502, http.Header{}, false},
		"an answer of a cache":     {200, http.Header{"Age": {"3"}}, false},
		"a date that is no date":   {200, http.Header{"Date": {"now"}}, false},
		"an answer without a date": {200, http.Header{"Date": nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const ahead = 90 * time.Second
				var sent time.Time
				client, err := rest.New(rest.Options{URL: "http://upstream.test", Key: "k", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					sent = time.Now()
					time.Sleep(30 * time.Millisecond)
					h := c.header.Clone()
					if _, given := h["Date"]; !given {
						h.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
					}
					time.Sleep(30 * time.Millisecond)
					return &http.Response{StatusCode: c.status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte("[]"))), Request: r}, nil
				})})
				require.NoError(t, err)
				assert.WithinDuration(t, time.Now(), client.Now(), 0)
				page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{idC}})
				offset := time.Duration(0)
				if c.learned {
					offset = ahead
				}
				assert.WithinDuration(t, time.Now().Add(offset), client.Now(), time.Second)
				if c.status != 200 {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				assert.False(t, page.ServerTime.After(sent.Add(offset)), "a row of that time may be missing")
				assert.WithinDuration(t, sent.Add(offset), page.ServerTime, 1100*time.Millisecond)
			})
		})
	}
}
