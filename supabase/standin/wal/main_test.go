package wal_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
	"github.com/agentopia/realtime-proxy/supabase/standin/wal"
)

func TestMain(m *testing.M) {
	release := stack.Hold()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		release()
		os.Exit(code)
	}))
}

const patience = 30 * time.Second

// database is an empty database of a running PostgreSQL, with a publication of all its tables.
type database struct {
	*wal.Store
	t   *testing.T
	dsn string
}

func newDatabase(t *testing.T, st *stack.Stack, name string) *database {
	t.Helper()
	require.NoError(t, st.Exec(t.Context(), "create database "+name))
	dsn, err := url.Parse(st.DSN())
	require.NoError(t, err)
	dsn.Path = "/" + name
	d := &database{t: t, dsn: dsn.String()}
	d.Store, err = wal.OpenStore(t.Context(), d.dsn)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	d.exec("create publication supabase_realtime for all tables; grant usage on schema public to anon, authenticated, service_role")
	return d
}

func (d *database) exec(script string) {
	d.t.Helper()
	require.NoError(d.t, d.Exec(d.t.Context(), script))
}

// run streams the database into sink until the test is over.
func (d *database) run(source *wal.Source, sink wal.Sink) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx, sink) }()
	d.t.Cleanup(func() {
		cancel()
		require.NoError(d.t, <-ended)
	})
	wait, stop := context.WithTimeout(d.t.Context(), patience)
	defer stop()
	require.NoError(d.t, source.WaitStreaming(wait))
}

// rows reads a table or view.
func (d *database) rows(ctx context.Context, table string, where standin.Row) (rows []standin.Row) {
	assert.NoError(d.t, d.Transact(context.WithoutCancel(ctx), func(tx standin.Statements) (err error) {
		rows, err = tx.Rows(table, where)
		return err
	}))
	return rows
}

func (d *database) source() *wal.Source {
	d.t.Helper()
	source, err := wal.New(wal.Options{DSN: d.dsn})
	require.NoError(d.t, err)
	return source
}

// transactions collects what the source hands over.
func (d *database) transactions() <-chan []standin.Change {
	d.t.Helper()
	list := make(chan []standin.Change, 64)
	d.run(d.source(), func(ctx context.Context, changes []standin.Change) error {
		select {
		case list <- changes:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return list
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// realtime is a stand-in whose changes come from the database.
func (d *database) realtime() (*standin.Server, *wal.Source, string) {
	d.t.Helper()
	source := d.source()
	server, err := standin.New(standin.Options{Source: source})
	require.NoError(d.t, err)
	web := httptest.NewServer(server.Handler())
	d.t.Cleanup(web.Close)
	d.t.Cleanup(server.Close)
	d.run(source, server.Deliver)
	return server, source, "ws" + strings.TrimPrefix(web.URL, "http")
}

// channel is a joined channel of its own socket.
type channel struct {
	t    *testing.T
	conn *websocket.Conn
}

// frame is the part of a change frame that tests look at; system messages have Message.
type frame struct {
	Message string
	Status  string
	Data    struct {
		Table, Type string
		Record      map[string]json.RawMessage
		Old         map[string]json.RawMessage `json:"old_record"`
		Columns     []struct{ Name, Type string }
		Errors      []string
	}
}

// join opens a socket and joins with one binding; it returns the system message.
func join(t *testing.T, base, key, binding string) (*channel, string) {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), base+"/realtime/v1/websocket?vsn=2.0.0&apikey="+key, nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	t.Cleanup(func() { _ = conn.Close() })
	c := &channel{t: t, conn: conn}
	join := `["1","1","realtime:test","phx_join",{"config":{"postgres_changes":[` + binding + `]}}]`
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(join)))
	event, _ := c.read()
	require.Equal(t, "phx_reply", event)
	event, f := c.read()
	require.Equal(t, "system", event)
	return c, f.Message
}

func joinTable(t *testing.T, base, key, table string) *channel {
	t.Helper()
	c, message := join(t, base, key, `{"event":"*","schema":"public","table":"`+table+`"}`)
	require.Equal(t, "Subscribed to PostgreSQL", message)
	return c
}

func (c *channel) read() (event string, f frame) {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(patience)))
	_, text, err := c.conn.ReadMessage()
	require.NoError(c.t, err)
	var parts []json.RawMessage
	require.NoError(c.t, json.Unmarshal(text, &parts))
	require.Len(c.t, parts, 5)
	require.NoError(c.t, json.Unmarshal(parts[3], &event))
	require.NoError(c.t, json.Unmarshal(parts[4], &f))
	return event, f
}

func (c *channel) change() frame {
	c.t.Helper()
	event, f := c.read()
	require.Equal(c.t, "postgres_changes", event)
	return f
}
