package transport_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// What the process has under way at once is bounded, whoever asks for it.
func TestCallsOfFunctionsUnderWayAreBounded(t *testing.T) {
	tests := map[string]struct {
		most int
		ask  func(g *sendRig, n int) (status int)
	}{
		"links": {200, func(g *sendRig, _ int) int { return openLink(g) }},
		"messages": {2000, func(g *sendRig, n int) int {
			return do(g.rig, "POST", sendPath, fmt.Sprintf(`{"session_token":"session-of-visitor-%08d","message":"Hello"}`, n)).Code
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSendRig(t, 200, linkAnswer, func(o *transport.Options) { o.CallsPerSecond = 1000 })
				defer g.stop()
				g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
					return &chat.Grant{Visitor: rigVisitor(c.Token.Reveal()), Token: c.Token}, nil
				}
				require.Equal(t, 200, tt.ask(g, 0), "a link that is known to be good takes no turn")
				free, prompt := make(chan struct{}), g.functions.answer
				g.functions.answer = func(ctx context.Context, c functionCall) (*transport.FunctionReply, error) {
					<-free
					return prompt(ctx, c)
				}
				var crowd sync.WaitGroup
				for n := range tt.most {
					crowd.Go(func() { assert.Equal(t, 200, tt.ask(g, n)) })
				}
				synctest.Wait()
				late := 0
				crowd.Go(func() { late = tt.ask(g, tt.most) })
				synctest.Wait()
				assert.Equal(t, 503, late, "it is not under way")
				close(free)
				crowd.Wait()
				assert.Equal(t, 200, tt.ask(g, tt.most+1))
			})
		})
	}
}
