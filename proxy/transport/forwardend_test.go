package transport_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// fakeEndings is a transport.Endings over one row.
type fakeEndings struct {
	err   error
	over  bool // the row has ended before
	mu    sync.Mutex
	ended []transport.SessionEnd
	told  []string
}

func (e *fakeEndings) EndSession(_ context.Context, _ *chat.Visitor, end transport.SessionEnd) (time.Time, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil || e.over {
		return time.Time{}, false, e.err
	}
	e.ended = append(e.ended, end)
	return rigTime, true, nil
}

func (e *fakeEndings) SessionChanged(id, status, reason string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, id+" "+status+" "+reason+" "+at.Format(time.RFC3339))
}

var _ transport.Endings = (*fakeEndings)(nil)

const (
	endOK   = `{"success":true,"ended":true,"end_reason":"completed","ended_at":"2026-01-02T03:04:05.000Z","message":"Session ended successfully"}`
	endGone = `{"error":"Session not found or already ended","ended":false}`
)

func endRig(t *testing.T, status int, body string) (*sendRig, *fakeEndings) {
	t.Helper()
	e := &fakeEndings{}
	return newSendRig(t, status, body, func(o *transport.Options) { o.Endings = e }), e
}

func TestFunctionThatEndsTheSessionIsBelieved(t *testing.T) {
	g, e := endRig(t, 200, endOK)
	w := do(g.rig, "POST", apiPath+"/end-session", `{"session_token":"`+rigToken+`"}`)
	assert.Equal(t, 200, w.Code)
	assert.JSONEq(t, endOK, w.Body.String())
	assert.Empty(t, e.ended)
	assert.Equal(t, []string{"session-1 ended completed 2026-01-02T03:04:05Z"}, e.told)
}

func TestProxyEndsWhatTheFunctionCannot(t *testing.T) {
	for name, reply := range map[string]struct {
		status int
		body   string
	}{
		"the broken RPC":      {400, `{"error":"Failed to end session","details":"function vault.decrypt_secret(uuid) does not exist"}`},
		"an internal error":   {500, `{"error":"Internal server error"}`},
		"no such function":    {404, `{"code":"NOT_FOUND","message":"Requested function was not found"}`},
		"a gateway's refusal": {401, `{"message":"Invalid JWT"}`},
		"a row not found":     {404, endGone},
		"not ended after all": {200, `{"success":true}`},
		"no JSON":             {200, `ended`},
	} {
		t.Run(name, func(t *testing.T) {
			g, e := endRig(t, reply.status, reply.body)
			w := do(g.rig, "POST", apiPath+"/end-session", end(`"satisfaction_rating":4,"feedback_text":"fine","end_reason":"max_duration"`))
			assert.Equal(t, 200, w.Code)
			assert.JSONEq(t, `{"success":true,"ended":true,"end_reason":"max_duration","ended_at":"2026-01-02T03:04:05.000Z",
				"message":"Session ended successfully"}`, w.Body.String())
			assert.Equal(t, []transport.SessionEnd{{Status: "ended", Reason: "max_duration", Rating: 4, Feedback: "fine"}}, e.ended)
			assert.NotContains(t, g.logs.String()+w.Body.String(), "decrypt_secret")
		})
	}
	t.Run("no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, e := endRig(t, 200, "")
			g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			begun := time.Now()
			w := do(g.rig, "POST", apiPath+"/end-session", end(`"end_reason":"gone_home"`))
			assert.Equal(t, 200, w.Code, w.Body)
			assert.Equal(t, 10*time.Second, time.Since(begun))
			assert.Equal(t, "completed", e.ended[0].Reason, "a reason that the table does not take keeps no session open")
		})
	})
}

func TestEndThatNobodyCouldMake(t *testing.T) {
	g, e := endRig(t, 400, `{"error":"Failed to end session","details":"SECRET"}`)
	e.over = true
	w := do(g.rig, "POST", apiPath+"/end-session", `{"session_token":"`+rigToken+`"}`)
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.JSONEq(t, `{"error":"Session not found or already ended","code":"session_not_found","ended":false}`,
		withoutRequestID(t, w.Body.String()))
	e.err = errors.New("SECRET")
	w = do(g.rig, "POST", apiPath+"/end-session", `{"session_token":"`+rigToken+`"}`)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.NotContains(t, w.Body.String(), "SECRET")
}

func TestSessionThatIsOverCannotBeEnded(t *testing.T) {
	g, e := endRig(t, 200, endOK)
	for refusal, test := range map[*chat.Refusal]struct {
		status int
		path   string
		want   string
	}{
		chat.RefuseEnded(nil): {404, "/end-session", endGone},
		chat.RefuseEnded(errors.New("x")): {401, "/validate-session",
			`{"error":"Invalid or expired session","valid":false,"reason":"Session not valid"}`},
		chat.RefuseInvalid(nil): {401, "/validate-session",
			`{"error":"Invalid or expired session","valid":false,"reason":"Session not found"}`},
	} {
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, refusal }
		w := do(g.rig, "POST", apiPath+test.path, `{"session_token":"`+rigToken+`"}`)
		assert.Equal(t, test.status, w.Code)
		got := fieldsOf(t, w.Body.Bytes())
		delete(got, "request_id")
		delete(got, "code")
		assert.Equal(t, fieldsOf(t, []byte(test.want)), got)
	}
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
		return nil, chat.RefuseUnavailable(time.Second, nil)
	}
	for _, path := range []string{"/end-session", "/validate-session"} {
		w := do(g.rig, "POST", apiPath+path, `{"session_token":"`+rigToken+`"}`)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code, "a broken database is no answer about a token")
	}
	assert.Empty(t, g.functions.all())
	assert.Empty(t, e.ended)
}

func TestPageThatIsLeftEndsItsSessionAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := endRig(t, 400, "")
		release := make(chan struct{})
		g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
			select {
			case <-release:
			case <-ctx.Done():
				t.Error("the call was given up")
			}
			return &transport.FunctionReply{Status: 400, Body: []byte(`{"error":"Failed to end session"}`)}, nil
		}
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			doContext(ctx, g.rig, "POST", apiPath+"/end-session", `{"session_token":"`+rigToken+`"}`)
		}()
		synctest.Wait()
		leave()
		<-left
		close(release)
		g.server.Drain(t.Context())
		assert.Len(t, e.ended, 1)
	})
}
