package transport_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestHealthIsAskedOnceASecondWhoeverAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 0, "", nil)
		defer g.stop()
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			time.Sleep(300 * time.Millisecond)
			return &transport.FunctionReply{Status: 200, Body: []byte(`{"status":"healthy"}`)}, nil
		}
		ask := func(ctx context.Context) int { return doContext(ctx, g.rig, "GET", apiPath+"/health", "").Code }
		var crowd sync.WaitGroup
		for range 30 {
			crowd.Go(func() { assert.Equal(t, 200, ask(t.Context())) })
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		ask(gone)
		crowd.Wait()
		assert.Len(t, g.functions.all(), 1)
		time.Sleep(699 * time.Millisecond)
		assert.Equal(t, 200, ask(t.Context()))
		assert.Len(t, g.functions.all(), 1)
		time.Sleep(time.Millisecond)
		assert.Equal(t, 200, ask(t.Context()))
		assert.Len(t, g.functions.all(), 2)
	})
}

func TestFailureOfHealthIsToldToAllWhoAsk(t *testing.T) {
	g := newSendRig(t, 500, "SECRET", nil)
	for range 3 {
		w := do(g.rig, "GET", apiPath+"/health", "")
		assert.Equal(t, 503, w.Code)
		assert.Equal(t, "2", w.Header().Get("Retry-After"))
		assert.NotContains(t, w.Body.String(), "SECRET")
	}
	assert.Len(t, g.functions.all(), 1)
}
