package transport_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func wrongLink(n int) string { return fmt.Sprintf("wrong-link-number-%08d", n) }

func validateLink(ctx context.Context, g *sendRig, token string, header ...string) *httptest.ResponseRecorder {
	return doContext(ctx, g.rig, "POST", apiPath+"/validate", `{"token":"`+token+`"}`, header...)
}

// refusesLinks is a function that takes a second to know no link.
func refusesLinks(context.Context, functionCall) (*transport.FunctionReply, error) {
	time.Sleep(time.Second)
	return &transport.FunctionReply{Status: 404, Body: []byte(`{"success":false,"error":"Invalid or expired chat link"}`)}, nil
}

func limitTries(o *transport.Options) { o.FailedTokensPerMinute = 3 }

func TestLinkTokensOfNoFormAreFailures(t *testing.T) {
	for path, field := range map[string]string{"/validate": "token", "/create-session": "link_token"} {
		t.Run(path, func(t *testing.T) {
			g := newSendRig(t, 200, "{}", limitTries)
			try := func() int { return do(g.rig, "POST", apiPath+path, `{"`+field+`":"abc"}`).Code }
			for range 3 {
				assert.Less(t, try(), 429)
			}
			assert.Equal(t, 429, try())
			assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "failed_tokens_per_minute"))
			assert.Empty(t, g.functions.all())
		})
	}
}

func TestLinkTokensTriedAtOnceAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 0, "", limitTries)
		defer g.stop()
		g.functions.answer = refusesLinks
		var crowd sync.WaitGroup
		for n := range 20 {
			crowd.Go(func() { assert.Contains(t, []int{404, 429}, validateLink(t.Context(), g, wrongLink(n)).Code) })
		}
		crowd.Wait()
		assert.Len(t, g.functions.all(), 3)
	})
}

func TestLinkTokenOfWhoHangsUpIsJudgedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 0, "", limitTries)
		defer g.stop()
		g.functions.answer = refusesLinks
		for n := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			validateLink(ctx, g, wrongLink(n))
			cancel()
		}
		time.Sleep(time.Second)
		assert.Equal(t, 429, validateLink(t.Context(), g, wrongLink(11)).Code)
		assert.Len(t, g.functions.all(), 3)
	})
}

func TestGoodLinkPassesBesideFailures(t *testing.T) {
	g, _ := linkRig(t, &fakeLinks{})
	assert.Equal(t, 200, openLink(g))
	for range 20 {
		assert.Equal(t, 404, do(g.rig, "POST", apiPath+"/validate", `{"token":"abc"}`).Code)
	}
	assert.Equal(t, 429, validateLink(t.Context(), g, wrongLink(1)).Code)
	assert.Equal(t, 200, openLink(g), "the same address")
	status, _ := openSession(g)
	assert.Equal(t, 201, status)
}

func TestLinkThatIsGoodNoMoreIsUnknownAgain(t *testing.T) {
	g, _ := linkRig(t, &fakeLinks{})
	assert.Equal(t, 200, openLink(g))
	g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
		return &transport.FunctionReply{Status: 404, Body: []byte(`{"success":false,"error":"Invalid or expired chat link"}`)}, nil
	}
	for range 21 { // the first is of a good link
		assert.Equal(t, 404, openLink(g))
	}
	assert.Equal(t, 429, openLink(g))
}

func TestSessionIsNotOpenedOnALinkThatNobodyWasAskedAbout(t *testing.T) {
	g, _ := linkRig(t, &fakeLinks{})
	for range 20 {
		do(g.rig, "POST", apiPath+"/validate", `{"token":"abc"}`)
	}
	status, body := openSession(g)
	assert.Equal(t, 429, status)
	assert.Contains(t, body, `"code":"too_many_attempts"`)
	assert.Contains(t, body, `"retry_after":`)
	assert.Empty(t, g.functions.all())
}

// fakeTurns is a transport.LinkTurns that counts what becomes of its turns.
type fakeTurns struct {
	refusal error
	open    chan struct{} // nil, or what a turn waits for

	mu           sync.Mutex
	given        int
	judged, good []bool
}

func (f *fakeTurns) LinkTurn(ctx context.Context, _ netip.Addr) (func(judged, good bool), error) {
	if f.open != nil {
		select {
		case <-f.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.refusal != nil {
		return nil, f.refusal
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.given++
	return func(judged, good bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.judged, f.good = append(f.judged, judged), append(f.good, good)
	}, nil
}

func TestLinkTokenTakesATurnUntilItIsKnownToBeGood(t *testing.T) {
	turns := &fakeTurns{}
	for _, tt := range []struct {
		name         string
		status       int
		body         string
		given        int // for two calls
		judged, good bool
	}{
		{"good", 200, linkAnswer, 1, true, true},
		{"good, of an unknown form", 200, `{"success":true}`, 1, true, true},
		{"unknown", 404, `{"success":false,"error":"Invalid or expired chat link"}`, 2, true, false},
		{"over", 410, `{"success":false,"error":"Chat link has expired"}`, 2, false, false},
		{"function away", 500, ``, 2, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			*turns = fakeTurns{}
			g := newSendRig(t, tt.status, tt.body, func(o *transport.Options) { o.LinkTurns = turns })
			for range 2 {
				validateLink(t.Context(), g, rigLink)
			}
			assert.Equal(t, tt.given, turns.given)
			assert.Len(t, turns.judged, tt.given, "each is given back")
			assert.Equal(t, []bool{tt.judged, tt.good}, []bool{turns.judged[0], turns.good[0]})
			assert.Len(t, g.functions.all(), 2)
		})
	}
}

func TestLinkTokenThatComesToNoTurn(t *testing.T) {
	t.Run("is told when to come back, and counted", func(t *testing.T) {
		ref := chat.RefuseUnavailable(3*time.Second, nil)
		ref.Quiet = true
		g := newSendRig(t, 200, linkAnswer, func(o *transport.Options) { o.LinkTurns, o.FailedTokensPerMinute = &fakeTurns{refusal: ref}, 1 })
		for range 3 { // nothing is held against the address
			w := validateLink(t.Context(), g, rigLink)
			assert.Equal(t, 503, w.Code)
			assert.Equal(t, "3", w.Header().Get("Retry-After"))
			assert.Contains(t, w.Body.String(), `"retry_after":3`)
		}
		assert.EqualValues(t, 3, g.value("limits_reached_total", "limit", "authorize_per_second"))
		assert.Empty(t, g.functions.all())
	})
	t.Run("because who brought it has gone, asks nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			turns := &fakeTurns{open: make(chan struct{})}
			g := newSendRig(t, 200, linkAnswer, func(o *transport.Options) { o.LinkTurns, o.FailedTokensPerMinute = turns, 1 })
			defer g.stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			validateLink(ctx, g, rigLink)
			assert.Empty(t, g.functions.all())
			close(turns.open)
			assert.Equal(t, 200, openLink(g), "and its try is given back")
		})
	})
}

func TestTokenThatComesToNoTurnIsCounted(t *testing.T) {
	g := newRig(t, nil)
	ref := chat.RefuseUnavailable(time.Second, nil)
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, ref }
	do(g, "GET", eventsPath, "")
	assert.Zero(t, g.value("limits_reached_total", "limit", "authorize_per_second"), "Supabase is away")
	ref.Quiet = true
	do(g, "GET", eventsPath, "")
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "authorize_per_second"))
}

func TestKnownLinksAreBounded(t *testing.T) {
	kept, first, last := transport.KnownLinksAfter(20_000)
	assert.Equal(t, 10_000, kept)
	assert.False(t, first)
	assert.True(t, last)
}
