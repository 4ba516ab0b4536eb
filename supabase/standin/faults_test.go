package standin_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// live gives a socket with one live channel on the messages table.
func live(h *harness) *client {
	c := h.dial("2.0.0")
	c.join("1", "x", standin.TableMessages)
	return c
}

func TestHandshakeFaults(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		faults := h.server.Faults()
		for _, test := range []struct {
			fault  standin.Fault
			status int
			body   string
		}{
			{standin.Fault{Kind: standin.RefuseHandshake, Count: 1}, 429, `{"error":"Too many connected users"}`},
			{standin.Fault{Kind: standin.RefuseHandshake, Count: 1, Status: 404, Reason: "Tenant not found"}, 404, `{"error":"Tenant not found"}`},
			{standin.Fault{Kind: standin.RefuseDial, Count: 1}, 500, "<html>"},
			{standin.Fault{Kind: standin.DatabaseDown, Count: 1}, 500, "<html>"},
		} {
			faults.Set(test.fault)
			_, res, err := h.tryDial(h.server.ServiceKey(), "2.0.0")
			require.Error(t, err)
			assert.Equal(t, test.status, res.StatusCode)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.Contains(t, string(body), test.body)
		}
		assert.Equal(t, 2, faults.Fired(standin.RefuseHandshake))
		h.dial("2.0.0").close()
	})
}

func TestJoinFaults(t *testing.T) {
	const join = `["7","7","realtime:x","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"chat_messages_v2"}]}}]`
	t.Run("refused after the back-off, the socket frozen", func(t *testing.T) {
		inBubble(t, standin.Options{JoinBackoff: 5 * time.Second}, func(t *testing.T, h *harness, f *standin.Fixture) {
			c := h.dial("2.0.0")
			defer c.close()
			c.join("1", "healthy", standin.TableMessages)
			h.server.Faults().Set(standin.Fault{Kind: standin.RefuseJoin, Match: "realtime:x", Reason: "IncreaseConnectionPool: Please increase"})
			began := time.Now()
			c.send(join)
			synctest.Wait()
			h.insert(f.Rows["m02"])
			synctest.Wait()
			c.quiet()
			m := c.next()
			assert.Equal(t, 5*time.Second, time.Since(began))
			for m.Event != phoenix.EventReply {
				m = c.next()
			}
			assert.Contains(t, string(m.Payload), "IncreaseConnectionPool")
		})
	})
	t.Run("reply late", func(t *testing.T) {
		inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
			c := h.dial("2.0.0")
			defer c.close()
			h.server.Faults().Set(standin.Fault{Kind: standin.DelayJoinReply, Delay: 8 * time.Second})
			began := time.Now()
			c.join("1", "x", standin.TableMessages)
			assert.Equal(t, 8*time.Second, time.Since(began))
		})
	})
	t.Run("system ok never or late", func(t *testing.T) {
		inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
			c := h.dial("2.0.0")
			defer c.close()
			h.server.Faults().Set(standin.Fault{Kind: standin.NoSystemOK, Count: 1})
			c.send(join)
			assert.Equal(t, phoenix.EventReply, c.next().Event)
			h.insert(f.Rows["m02"])
			time.Sleep(time.Minute / 2)
			c.quiet()
			h.server.Faults().Set(standin.Fault{Kind: standin.DelaySystemOK, Delay: 3 * time.Second})
			began := time.Now()
			c.join("2", "y", standin.TableMessages)
			assert.Equal(t, 3*time.Second, time.Since(began))
		})
	})
	t.Run("table not published", func(t *testing.T) {
		inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
			c := h.dial("2.0.0")
			defer c.close()
			h.server.Faults().Set(standin.Fault{Kind: standin.UnpublishedTable, Match: standin.TableMessages})
			c.send(join)
			assert.Equal(t, phoenix.EventReply, c.next().Event)
			assert.Contains(t, string(c.next().Payload), "Please check Realtime is enabled")
			c.join("2", "y", standin.TableSessions)
			h.server.Faults().Clear(standin.UnpublishedTable)
			c.join("3", "z", standin.TableMessages)
		})
	})
}

func TestSocketFaults(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		c := live(h)
		assert.Equal(t, 1, h.server.Faults().DropSockets())
		<-c.ended
		assert.Equal(t, websocket.CloseAbnormalClosure, c.code)
		for _, code := range []int{1000, 1012} {
			c = live(h)
			h.server.Faults().CloseSockets(code)
			<-c.ended
			assert.Equal(t, code, c.code)
		}
	})
}

func TestHeartbeatFaults(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		c := h.dial("2.0.0")
		defer c.close()
		h.server.Faults().Set(standin.Fault{Kind: standin.MuteHeartbeats, For: time.Second})
		c.send(`[null,"1","phoenix","heartbeat",{}]`)
		synctest.Wait()
		c.quiet()
		time.Sleep(2 * time.Second)
		c.send(`[null,"2","phoenix","heartbeat",{}]`)
		assert.Equal(t, "2", c.next().Ref.String())
		assert.Equal(t, 1, h.server.Faults().Fired(standin.MuteHeartbeats))
	})
}

func TestStalledSocketResumes(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := live(h)
		defer c.close()
		h.server.Faults().Set(standin.Fault{Kind: standin.StallSockets})
		id := h.insert(f.Rows["m02"])
		c.send(`[null,"1","phoenix","heartbeat",{}]`)
		time.Sleep(time.Minute / 2)
		c.quiet()
		h.server.Faults().Clear(standin.StallSockets)
		assert.Equal(t, id, c.nextChange().id())
		assert.Equal(t, "1", c.next().Ref.String())
	})
}

func TestDeafChannelHearsAgainAfterANewJoin(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := live(h)
		defer c.close()
		h.server.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
		h.server.Faults().Clear(standin.DeafChannels)
		h.insert(f.Rows["m02"])
		c.send(`[null,"1","phoenix","heartbeat",{}]`)
		assert.Equal(t, phoenix.EventReply, c.next().Event, "heartbeats are answered")
		assert.Equal(t, 1, h.server.Faults().Fired(standin.DeafChannels))
		assert.True(t, h.server.Subscriptions()[0].Deaf)

		c.send(`["2","2","realtime:x","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"chat_messages_v2"}]}}]`)
		for _, event := range []string{phoenix.EventReply, phoenix.EventClose, phoenix.EventSystem} {
			assert.Equal(t, event, c.next().Event)
		}
		id := h.insert(f.Rows["m02"])
		assert.Equal(t, id, c.nextChange().id())
	})
}

func TestChangeFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault standin.Fault
		want  int // frames for three rows
	}{
		"doubled":              {standin.Fault{Kind: standin.DuplicateChanges, Count: 2}, 5},
		"dropped":              {standin.Fault{Kind: standin.DropChanges, Count: 2, Match: standin.TableMessages}, 1},
		"dropped elsewhere":    {standin.Fault{Kind: standin.DropChanges, Match: standin.TableSessions}, 3},
		"rate limit":           {standin.Fault{Kind: standin.RateLimit}, 0},
		"database down":        {standin.Fault{Kind: standin.DatabaseDown}, 0},
		"wrong frame shape":    {standin.Fault{Kind: standin.WrongFrameShape}, 3},
		"delayed":              {standin.Fault{Kind: standin.DelayChanges, Delay: time.Second}, 3},
		"rate limit has ended": {standin.Fault{Kind: standin.RateLimit, For: time.Nanosecond}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
				c := live(h)
				defer c.close()
				h.server.Faults().Set(test.fault)
				time.Sleep(time.Millisecond)
				began := time.Now()
				for range 3 {
					h.insert(f.Rows["m02"])
				}
				for range test.want {
					got := c.nextChange()
					assert.NotEmpty(t, got.id())
				}
				if test.fault.Delay > 0 {
					assert.Equal(t, test.fault.Delay, time.Since(began))
				}
				synctest.Wait()
				c.quiet()
			})
		})
	}
}

func TestWrongFrameShapeIsThatOfTheOtherVersion(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := live(h)
		defer c.close()
		h.server.Faults().Set(standin.Fault{Kind: standin.WrongFrameShape, Count: 1})
		h.insert(f.Rows["m02"])
		assert.Equal(t, byte('{'), (<-c.frames).data[0])
		h.insert(f.Rows["m02"])
		assert.Equal(t, byte('['), (<-c.frames).data[0])
	})
}

func TestDelayedChangesAreNotOvertaken(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := live(h)
		defer c.close()
		h.server.Faults().Set(standin.Fault{Kind: standin.DelayChanges, Delay: time.Second, Count: 1})
		first, second := h.insert(f.Rows["m02"]), h.insert(f.Rows["m02"])
		assert.Equal(t, first, c.nextChange().id())
		assert.Equal(t, second, c.nextChange().id())
	})
}

func TestHTTPFaults(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		get := func() (*http.Response, string, error) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://standin/rest/v1/agents?select=id", nil)
			require.NoError(t, err)
			r.Header.Set("apikey", h.server.ServiceKey())
			res, err := h.http.Do(r)
			if err != nil {
				return nil, "", err
			}
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			return res, string(body), nil
		}
		faults := h.server.Faults()
		faults.Set(standin.Fault{Kind: standin.FailHTTP, Match: "/rest/v1/agents", Count: 1, RetryAfter: 7 * time.Second})
		res, body, err := get()
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		assert.Equal(t, "7", res.Header.Get("Retry-After"))
		assert.Contains(t, body, "<html>")

		faults.Set(standin.Fault{Kind: standin.FailHTTP, Match: "/rest/v1/agents", Count: 1, Status: 500, Body: "null"})
		res, body, err = get()
		require.NoError(t, err)
		assert.Equal(t, 500, res.StatusCode)
		assert.Equal(t, "null", body)

		faults.Set(standin.Fault{Kind: standin.AbortHTTP, Match: "/rest/v1/agents", Count: 2}) // the client tries a second time
		_, _, err = get()
		require.Error(t, err)

		faults.Set(standin.Fault{Kind: standin.SlowHTTP, Match: "/rest/v1/agents", Delay: time.Second, Count: 1})
		faults.Set(standin.Fault{Kind: standin.FailHTTP, Match: "/functions/"})
		began := time.Now()
		res, body, err = get()
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Equal(t, http.StatusOK, res.StatusCode)
		assert.JSONEq(t, `[{"id":"`+f.AgentID+`"}]`, body)

		faults.ClearAll()
		faults.Set(standin.Fault{Kind: standin.DatabaseDown})
		res, body, err = get()
		require.NoError(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		assert.Contains(t, body, "PGRST002")
		for kind, want := range map[standin.Kind]int{standin.FailHTTP: 2, standin.AbortHTTP: 2, standin.SlowHTTP: 1, standin.DatabaseDown: 1} {
			assert.Equal(t, want, faults.Fired(kind), kind)
		}
	})
}
