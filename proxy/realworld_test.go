package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
	"github.com/agentopia/realtime-proxy/supabase/standin/wal"
)

// realWorld is a world of real parts: PostgreSQL with its write-ahead log, and PostgREST. Only the Realtime server and the functions are
// the stand-in's.
type realWorld struct {
	*world
	stack  *stack.Stack
	source *wal.Source
}

func newRealWorld(t *testing.T, o stack.Options) *realWorld {
	t.Helper()
	o.Profile.Seed = true
	st := stack.Start(t, o)
	source, err := wal.New(wal.Options{DSN: st.DSN()})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	store, err := wal.OpenStore(ctx, st.DSN())
	require.NoError(t, err)
	t.Cleanup(store.Close)
	up, err := standin.New(standin.Options{
		ServiceKey: st.ServiceKey(), AnonKey: st.AnonKey(), Source: source, Store: store, REST: st.Handler(),
	})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, source.Run(ctx, up.Deliver)) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	w := &realWorld{world: serveWorld(t, up, standin.NewFixture()), stack: st, source: source}
	w.store = func(row standin.Row) { w.post("chat_messages_v2", row) }
	require.NoError(t, source.WaitStreaming(w.ctx))
	return w
}

// post stores a row through PostgREST.
func (w *realWorld) post(table string, row any) {
	w.t.Helper()
	status, answer := w.tryPost(table, row)
	require.Less(w.t, status, 300, "%s", answer)
}

func (w *realWorld) tryPost(table string, row any) (status int, answer []byte) {
	w.t.Helper()
	raw, err := json.Marshal(row)
	require.NoError(w.t, err)
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.url+"/rest/v1/"+table, bytes.NewReader(raw))
	require.NoError(w.t, err)
	req.Header.Set("apikey", w.stack.ServiceKey())
	req.Header.Set("Authorization", "Bearer "+w.stack.ServiceKey())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, answer
}

// exec runs SQL as the database's owner.
func (w *realWorld) exec(sql string, args ...any) {
	w.t.Helper()
	require.NoError(w.t, w.stack.Exec(w.ctx, sql, args...))
}
