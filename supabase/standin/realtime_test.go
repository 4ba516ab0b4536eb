package standin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// inBubble runs a test against a seeded stand-in, served over pipes in a synctest bubble.
func inBubble(t *testing.T, opts standin.Options, test func(t *testing.T, h *harness, f *standin.Fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, opts)
		defer stop()
		f, err := h.server.Seed()
		require.NoError(t, err)
		test(t, h, f)
	})
}

func (h *harness) insert(row standin.Row) string {
	h.t.Helper()
	row = with(row, standin.Row{})
	delete(row, "id")
	delete(row, "created_at")
	stored, err := h.server.DB().Insert(standin.TableMessages, row)
	require.NoError(h.t, err)
	return stored["id"].(string)
}

// change is the part of a change frame that tests look at.
type change struct {
	IDs  []int
	Data struct {
		Type, Table, Schema string
		Record, OldRecord   map[string]json.RawMessage
		Old                 map[string]json.RawMessage `json:"old_record"`
		Errors              []string
		CommitTimestamp     *string `json:"commit_timestamp"`
	}
}

func (c *client) nextChange() change {
	c.t.Helper()
	m := c.next()
	require.Equal(c.t, phoenix.EventPostgresChanges, m.Event)
	var got change
	require.NoError(c.t, json.Unmarshal(m.Payload, &got))
	return got
}

func (got change) id() string { return strings.Trim(string(got.Data.Record["id"]), `"`) }

func TestOversizedFrameCloses1009(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		c := h.dial("1.0.0")
		_ = c.conn.WriteMessage(websocket.TextMessage, make([]byte, 6_000_000)) // may fail: the server stops reading
		<-c.ended
		assert.Equal(t, websocket.CloseMessageTooBig, c.code)
	})
}

func TestRowLevelSecurityHidesRowsFromAnon(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		service, anon := h.dial("2.0.0"), h.dialAs(h.server.AnonKey(), "2.0.0")
		defer service.close()
		defer anon.close()
		for _, c := range []*client{service, anon} {
			c.join("1", "rls", standin.TableMessages, standin.TableLinks)
		}
		id := h.insert(f.Rows["m02"])
		assert.Equal(t, id, service.nextChange().id())
		synctest.Wait()
		anon.quiet()

		_, err := h.server.DB().Update(standin.TableLinks, standin.Row{"id": f.Isolated.ID}, standin.Row{"title": "New"})
		require.NoError(t, err)
		for _, c := range []*client{service, anon} {
			assert.Equal(t, standin.TableLinks, c.nextChange().Data.Table, "anon reads active links")
		}
		_, err = h.server.DB().Delete(standin.TableMessages, standin.Row{"id": id})
		require.NoError(t, err)
		for _, c := range []*client{service, anon} {
			got := c.nextChange()
			assert.Equal(t, "DELETE", got.Data.Type, "deletes go to everybody")
			assert.Len(t, got.Data.Old, 1, "with the key only")
		}

		h.server.DB().Revoke(standin.TableMessages, "service_role")
		h.insert(f.Rows["m02"])
		got := service.nextChange()
		assert.Equal(t, []string{"Error 401: Unauthorized"}, got.Data.Errors)
		assert.Empty(t, got.Data.Record)
		assert.Nil(t, got.Data.CommitTimestamp)
	})
}

func TestRowGoneWithinItsTransactionIsNotInserted(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "t", standin.TableMessages)
		err := h.server.DB().Tx(func(tx *standin.Tx) error {
			if _, err := tx.Insert(standin.TableMessages, f.Rows["m02"]); err != nil {
				return err
			}
			_, err := tx.Delete(standin.TableMessages, standin.Row{"id": f.Rows["m02"]["id"]})
			return err
		})
		require.NoError(t, err)
		assert.Equal(t, "DELETE", c.nextChange().Data.Type)
	})
}

func TestCascadeSendsParentThenChildren(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "t", standin.TableLinks, standin.TableSessions)
		_, err := h.server.DB().Delete(standin.TableLinks, standin.Row{"id": f.Contextual.ID})
		require.NoError(t, err)
		for _, want := range []string{standin.TableLinks, standin.TableSessions, standin.TableSessions} {
			got := c.nextChange()
			assert.Equal(t, want, got.Data.Table)
			assert.Equal(t, "DELETE", got.Data.Type)
		}
	})
}

func TestPublicationDecidesWhatComes(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		h.server.DB().SetPublication(standin.TableMessages)
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "messages", standin.TableMessages)
		c.send(`["2","2","realtime:sessions","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"temporary_chat_sessions"}]}}]`)
		assert.Equal(t, phoenix.EventReply, c.next().Event)
		assert.Contains(t, string(c.next().Payload), "Please check Realtime is enabled")

		h.insert(f.Rows["m02"])
		c.nextChange()
		h.server.DB().SetPublication()
		h.insert(f.Rows["m02"])
		synctest.Wait()
		c.quiet()
	})
}

func TestWaitLiveReturnsOnTheEvent(t *testing.T) {
	inBubble(t, standin.Options{SubscribeDelay: time.Second}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- h.server.WaitLive(t.Context(), standin.TableMessages) }()
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "x", standin.TableMessages)
		require.NoError(t, <-done)
		assert.Equal(t, time.Second, time.Since(began))
		subscriptions := h.server.Subscriptions()
		require.Len(t, subscriptions, 1)
		assert.True(t, subscriptions[0].Live)
		assert.Equal(t, "realtime:x", subscriptions[0].Topic)
		assert.Equal(t, standin.TableMessages, subscriptions[0].Bindings[0].Table)
		assert.Equal(t, 1, h.server.Sockets())
	})
}

func TestOrderOfChangesIsThatOfCommits(t *testing.T) {
	inBubble(t, standin.Options{PollInterval: 100 * time.Millisecond}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "x", standin.TableMessages)
		var want []string
		for range 50 {
			want = append(want, h.insert(f.Rows["m02"]))
			time.Sleep(time.Millisecond)
		}
		for _, id := range want {
			assert.Equal(t, id, c.nextChange().id())
		}
	})
}

func TestPresenceLimitEndsTheChannel(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "room")
		for ref := range 5 {
			c.send(`["1","` + string(rune('a'+ref)) + `","realtime:room","presence",{"event":"track","payload":{}}]`)
			assert.Equal(t, phoenix.EventReply, c.next().Event)
		}
		c.send(`["1","f","realtime:room","presence",{"event":"track","payload":{}}]`)
		assert.Contains(t, string(c.next().Payload), "Client presence rate limit exceeded")
		assert.Equal(t, phoenix.EventClose, c.next().Event)
	})
}

func TestHTTPBroadcastReachesBothVersions(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		v1, v2 := h.dial("1.0.0"), h.dial("2.0.0")
		defer v1.close()
		defer v2.close()
		v1.send(`{"topic":"realtime:room","event":"phx_join","payload":{"config":{}},"ref":"1","join_ref":"1"}`)
		assert.Equal(t, phoenix.EventReply, v1.next().Event)
		v2.join("1", "room")
		post := func(path, body, key string) int {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://standin/realtime/v1/api/"+path, strings.NewReader(body))
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+key)
			res, err := h.http.Do(r)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			return res.StatusCode
		}
		assert.Equal(t, 202, post("broadcast", `{"messages":[{"topic":"room","event":"e","payload":{"b":1,"a":2}}]}`, h.server.AnonKey()))
		for _, c := range []*client{v1, v2} {
			assert.Equal(t, `{"event":"e","payload":{"a":2,"b":1},"type":"broadcast"}`, string(c.next().Payload))
		}
		assert.Equal(t, 202, post("broadcast/room/events/e", `{"x":1}`, h.server.AnonKey()))
		assert.Equal(t, `{"event":"e","payload":{"x":1},"type":"broadcast"}`, string(v1.next().Payload))
		m := v2.next()
		require.NotNil(t, m.Binary)
		assert.Equal(t, `{"x":1}`, string(m.Binary.Payload))
		assert.Equal(t, 401, post("broadcast", `{"messages":[]}`, "nope"))
		assert.Equal(t, 422, post("broadcast", `{"messages":[{}]}`, h.server.AnonKey()))
		assert.Equal(t, 403, post("broadcast/room/events/e?private=true", `{}`, h.server.AnonKey()))
	})
}

func TestLegacyJoinGetsBareData(t *testing.T) {
	inBubble(t, standin.Options{}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := h.dial("1.0.0")
		defer c.close()
		c.send(`{"topic":"realtime:public:chat_messages_v2","event":"phx_join","payload":{},"ref":"1"}`)
		assert.Equal(t, phoenix.EventReply, c.next().Event)
		assert.Equal(t, phoenix.EventSystem, c.next().Event)
		h.insert(f.Rows["m02"])
		m := c.next()
		assert.Equal(t, "INSERT", m.Event)
		assert.True(t, strings.HasPrefix(string(m.Payload), `{"table":"chat_messages_v2","type":"INSERT"`), string(m.Payload))
	})
}

func TestFullQueueDropsTheSocket(t *testing.T) {
	inBubble(t, standin.Options{QueueFrames: 10}, func(t *testing.T, h *harness, f *standin.Fixture) {
		d := websocket.Dialer{NetDialContext: h.listener.dial}
		conn, _, err := d.DialContext(t.Context(), "ws://standin/realtime/v1/websocket?vsn=2.0.0&apikey="+h.server.ServiceKey(), nil)
		require.NoError(t, err)
		require.NoError(t, conn.WriteMessage(websocket.TextMessage,
			[]byte(`["1","1","realtime:x","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"chat_messages_v2"}]}}]`)))
		require.NoError(t, h.server.WaitLive(t.Context(), standin.TableMessages))
		for range 20 {
			h.insert(f.Rows["m02"])
		}
		require.NoError(t, h.server.WaitFor(t.Context(), func(_ []standin.Subscription, sockets int) bool { return sockets == 0 }))
		require.NoError(t, conn.Close())
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, standin.Options{PollInterval: time.Hour, SubscribeDelay: 0}, func(t *testing.T, h *harness, f *standin.Fixture) {
		c := h.dial("2.0.0")
		c.join("1", "x", standin.TableMessages)
		h.insert(f.Rows["m02"]) // leaves a delayed change and its goroutine
		h.server.Faults().Set(standin.Fault{Kind: standin.SlowHTTP, Match: "/rest/v1", Delay: time.Hour})
		failed := make(chan error, 1)
		go func() {
			res, err := h.http.Get("http://standin/rest/v1/agents")
			if err == nil {
				_ = res.Body.Close()
			}
			failed <- err
		}()
		synctest.Wait()
		began := time.Now()
		h.server.Close()
		<-c.ended
		require.Error(t, <-failed)
		assert.Zero(t, time.Since(began))
		assert.Zero(t, h.server.Sockets())
		_, res, err := h.tryURL("vsn=2.0.0&apikey="+h.server.ServiceKey(), nil)
		require.Error(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	})
}

func TestServesRealSockets(t *testing.T) {
	server, f := seeded(t, standin.Options{PollInterval: time.Millisecond})
	srv := httptest.NewServer(server.Handler())
	defer srv.Close()
	defer server.Close()
	for _, version := range []string{"1.0.0", "2.0.0"} {
		conn, res, err := websocket.DefaultDialer.DialContext(t.Context(),
			"ws"+strings.TrimPrefix(srv.URL, "http")+"/realtime/v1/websocket?apikey="+server.ServiceKey()+"&vsn="+version, nil)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		v, err := phoenix.ParseVersion(version)
		require.NoError(t, err)
		c := &client{t: t, conn: conn, version: v, frames: make(chan frame, 100), ended: make(chan struct{})}
		go c.collect()
		join, _, err := phoenix.EncodeClient(v, nil, phoenix.Message{JoinRef: phoenix.StringRef("1"), Ref: phoenix.StringRef("1"),
			Topic: "realtime:x", Event: phoenix.EventJoin,
			Payload: json.RawMessage(`{"config":{"postgres_changes":[{"event":"INSERT","schema":"public","table":"chat_messages_v2"}]}}`)})
		require.NoError(t, err)
		c.send(string(join))
		require.NoError(t, server.WaitLive(t.Context(), standin.TableMessages))
		row := with(f.Rows["m02"], standin.Row{})
		delete(row, "id")
		stored, err := server.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err)
		assert.Equal(t, phoenix.EventReply, c.next().Event)
		assert.Equal(t, phoenix.EventSystem, c.next().Event)
		assert.Equal(t, stored["id"], c.nextChange().id())
		server.Faults().CloseSockets(websocket.CloseServiceRestart)
		<-c.ended
		assert.Equal(t, websocket.CloseServiceRestart, c.code)
		require.NoError(t, server.WaitFor(t.Context(), func(_ []standin.Subscription, sockets int) bool { return sockets == 0 }))
	}
}
