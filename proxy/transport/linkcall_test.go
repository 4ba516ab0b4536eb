package transport_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

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
