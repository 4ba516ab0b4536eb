package transport_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestSocketsThatAreTurnedAwayAreNotAllWaitedFor(t *testing.T) {
	const sockets, most = 100, 65 // one may be on its way out
	g := newRig(t, func(o *transport.Options) { o.ConnectionsPerAddress = 1 })
	base := g.serve()
	g.dial(base, socketPath, http.Header{})
	for range sockets {
		p := g.dial(base, socketPath, http.Header{})
		p.conn.SetCloseHandler(func(int, string) error { return nil }) // and the peer stays
		for {
			if _, _, err := p.conn.ReadMessage(); err != nil {
				require.True(t, websocket.IsCloseError(err, 4429), "%v", err)
				break
			}
		}
		assert.LessOrEqual(t, g.server.Lingering(), most)
	}
	assert.Eventually(t, func() bool { return g.server.Lingering() == 0 }, 10*time.Second, 20*time.Millisecond)
}
