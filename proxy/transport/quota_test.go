package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// limitedTo gives the rig's session a total limit, and a table with so many of its rows.
func limitedTo(g *sendRig, limit int, stored *int) {
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
		v := rigVisitor(rigSession)
		v.MaxMessages, v.RateLimitPerMinute = limit, 100
		return &chat.Grant{Visitor: v, Token: rigToken}, nil
	}
	g.store.count = func(context.Context) (int, error) { return *stored, nil }
}

func fieldsOf(t *testing.T, body []byte) (fields map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(body, &fields), "%s", body)
	return fields
}

func TestSessionSendsNoMoreThanItsTotal(t *testing.T) {
	for _, via := range []string{transport.SendViaFunction, transport.SendViaInsert} {
		t.Run(via, func(t *testing.T) {
			stored := 7 // by processes before
			g := newSendRig(t, 200, sent, func(o *transport.Options) { o.SendVia = via })
			limitedTo(g, 9, &stored)
			for _, remaining := range []float64{1, 0} {
				w := do(g.rig, "POST", sendPath, message("a"))
				require.Equal(t, 200, w.Code, w.Body)
				assert.Equal(t, remaining, fieldsOf(t, w.Body.Bytes())["remaining_messages"])
			}
			w := do(g.rig, "POST", sendPath, message("a"))
			assert.Equal(t, http.StatusTooManyRequests, w.Code)
			assert.JSONEq(t, `{"error":"Message limit reached for this session","code":"message_limit_reached","max_messages":9,"current_messages":9}`,
				withoutRequestID(t, w.Body.String()))
			assert.Empty(t, w.Header().Get("Retry-After"), "waiting does not help")
		})
	}
}

func TestSendsAtOnceShareOneTotal(t *testing.T) {
	stored := 0
	g := newSendRig(t, 200, sent, nil)
	limitedTo(g, 5, &stored)
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			w := do(g.rig, "POST", sendPath, message("a"))
			mu.Lock()
			got[w.Code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	assert.Equal(t, map[int]int{200: 5, 429: 15}, got)
	assert.Len(t, g.functions.all(), 5)
}

func TestRepeatOfAStoredMessageNeedsNoRoom(t *testing.T) {
	stored := 3
	g := newSendRig(t, 200, sent, nil)
	limitedTo(g, 3, &stored)
	g.store.find = func(_ context.Context, id string) (json.RawMessage, error) {
		if id != "c-1" {
			return nil, nil
		}
		return json.RawMessage(`{"id":"m-1","conversation_id":"conversation-1","role":"system","content":{"type":"text","text":"a"}}`), nil
	}
	w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-1"`))
	require.Equal(t, 200, w.Code, w.Body)
	assert.Equal(t, "m-1", fieldsOf(t, w.Body.Bytes())["message_id"])
	assert.Equal(t, 429, do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-2"`)).Code)
}

func TestTotalIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stored, reads := 0, 0
		g := newSendRig(t, 200, sent, nil)
		limitedTo(g, 3, &stored)
		count := g.store.count
		g.store.count = func(ctx context.Context) (int, error) { reads++; return count(ctx) }
		send := func() int { return do(g.rig, "POST", sendPath, message("a")).Code }

		require.Equal(t, 200, send())
		require.Equal(t, 200, send())
		assert.Equal(t, 1, reads, "the table is asked once, then the sends are counted")
		stored = 3 // another process had one more
		time.Sleep(time.Minute)
		assert.Equal(t, 429, send())
		assert.Equal(t, 2, reads)
		stored = 2 // its row was deleted
		time.Sleep(time.Minute)
		assert.Equal(t, 200, send())

		answer := g.functions.answer
		stored = 1
		time.Sleep(time.Minute)
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) { return nil, io.ErrUnexpectedEOF }
		require.Equal(t, 503, send())
		g.functions.answer, reads = answer, 0
		require.Equal(t, 200, send())
		assert.Equal(t, 1, reads, "whether the lost answer stored a row only the table knows")

		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return &transport.FunctionReply{Status: 400, Body: []byte(`{"error":"Message too long (maximum 4000 characters)"}`)}, nil
		}
		for range 5 {
			require.Equal(t, 400, send())
		}
		g.functions.answer = answer
		assert.Equal(t, 200, send(), "what was refused takes no place")
		assert.Equal(t, 429, send())
	})
}

func TestTotalThatCannotBeReadIsNoLimitReached(t *testing.T) {
	stored := 0
	g := newSendRig(t, 200, sent, nil)
	limitedTo(g, 3, &stored)
	g.store.count = func(context.Context) (int, error) { return 0, errors.New("no answer") }
	w := do(g.rig, "POST", sendPath, message("a"))
	assert.Equal(t, 503, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Empty(t, g.functions.all())
	limitedTo(g, 3, &stored)
	assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code)
}

func TestLinkSetsTheRateOfItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, sent, func(o *transport.Options) { o.MessagesPerMinute = 1 })
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			v := rigVisitor(rigSession)
			v.RateLimitPerMinute = 2
			return &chat.Grant{Visitor: v, Token: rigToken}, nil
		}
		send := func() int { return do(g.rig, "POST", sendPath, message("a")).Code }
		require.Equal(t, []int{200, 200, 429}, []int{send(), send(), send()})
		time.Sleep(time.Minute)
		assert.Equal(t, 200, send())
	})
}

func TestMessageThatCameTooOftenTakesNothingOfTheTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stored := 0
		g := newSendRig(t, 200, sent, nil)
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			v := rigVisitor(rigSession)
			v.MaxMessages, v.RateLimitPerMinute = 2, 1
			return &chat.Grant{Visitor: v, Token: rigToken}, nil
		}
		g.store.count = func(context.Context) (int, error) { return stored, nil }
		require.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code)
		for range 5 {
			w := do(g.rig, "POST", sendPath, message("b"))
			require.Contains(t, w.Body.String(), `"rate_limit_exceeded"`)
		}
		stored = 1
		time.Sleep(time.Minute)
		w := do(g.rig, "POST", sendPath, message("b"))
		assert.Equal(t, 200, w.Code, w.Body)
	})
}
