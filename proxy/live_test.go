package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// project is a Supabase project as the live suite finds it.
type project struct {
	url, serviceKey, anonKey string
	dsn                      string // "" when rows cannot be written
}

// TestLive runs the main flow against a real Supabase: supabase start, self-hosted or hosted.
func TestLive(t *testing.T) {
	p := project{
		url: os.Getenv("SUPABASE_URL"), serviceKey: os.Getenv("SUPABASE_SERVICE_ROLE_KEY"), anonKey: os.Getenv("SUPABASE_ANON_KEY"),
		dsn: os.Getenv("LIVE_DATABASE_URL"),
	}
	if p.url == "" || p.serviceKey == "" || p.anonKey == "" {
		t.Skip("needs SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY and SUPABASE_ANON_KEY of a project; LIVE_DATABASE_URL too, to write rows")
	}
	p.run(t)
}

// TestLiveSuiteOnRealParts runs the same suite against PostgreSQL, PostgREST and the stand-in's Realtime.
func TestLiveSuiteOnRealParts(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	project{url: w.url, serviceKey: w.stack.ServiceKey(), anonKey: w.stack.AnonKey(), dsn: w.stack.DSN()}.run(t)
}

// run does what can be done: without a database to write to, the refusals only.
func (p project) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	var conn *pgx.Conn
	if p.dsn != "" {
		var err error
		conn, err = pgx.Connect(ctx, p.dsn)
		require.NoError(t, err, "connect to LIVE_DATABASE_URL")
		t.Cleanup(func() { _ = conn.Close(context.Background()) }) // nothing is left to write
		applySchema(ctx, t, conn)
	}
	n := p.serve(t)
	t.Run("an unknown token is refused", func(t *testing.T) {
		v := &proxytest.Visitor{Base: n.base, Token: "unknown-" + uuid.NewString()}
		var reply *proxytest.PollReply
		require.Eventually(t, func() bool { // a schema that was just made is known to PostgREST a moment later
			var err error
			reply, err = v.Poll(ctx, "", 0, 0)
			return err == nil && reply.Status != http.StatusServiceUnavailable
		}, time.Minute, time.Second)
		assert.Equal(t, http.StatusUnauthorized, reply.Status)
	})
	t.Run("the proxy is ready", func(t *testing.T) {
		resp, err := http.Get(n.admin + "/readyz")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
	})
	if conn == nil {
		t.Log("LIVE_DATABASE_URL is not set: no rows were written and no messages tried")
		return
	}
	t.Run("a visitor from the first message to the end", func(t *testing.T) { p.visit(ctx, t, conn, n) })
}

// applySchema brings an empty database the schema of testdata/sql. One that has the tables is left as it is.
func applySchema(ctx context.Context, t *testing.T, conn *pgx.Conn) {
	var there, vault bool
	err := conn.QueryRow(ctx, `select to_regclass('public.chat_messages_v2') is not null, to_regprocedure('public.vault_decrypt(text)') is not null`).
		Scan(&there, &vault)
	require.NoError(t, err)
	if there {
		return
	}
	files := []string{"20_tables", "30_triggers", "40_rls", "50_publication_all", "60_validate_e", "61_create_session", "62_end_session", "63_rate_limit"}
	if !vault {
		files = append([]string{"11_vault_decrypt"}, files...)
	}
	for _, name := range files {
		script, err := os.ReadFile(filepath.Join("..", "testdata", "sql", name+".sql"))
		require.NoError(t, err)
		_, err = conn.PgConn().Exec(ctx, string(script)).ReadAll()
		require.NoError(t, err, name)
	}
	_, err = conn.Exec(ctx, `notify pgrst, 'reload schema'`)
	require.NoError(t, err)
}

// serve runs a proxy of the project.
func (p project) serve(t *testing.T) *node {
	logs := &syncBuffer{}
	w := &world{t: t, logs: logs, url: p.url, serviceKey: p.serviceKey, anonKey: p.anonKey}
	n := w.startCold(func(o *proxy.Options) {
		o.SendVia = "insert"
		o.Logger = slog.New(slog.NewTextHandler(logs, nil))
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(logs.String())
		}
	})
	return n
}

// liveSession is what the suite creates in the project, and removes.
type liveSession struct {
	standin.FixtureSession
	user, agent string
}

func newLiveSession(ctx context.Context, t *testing.T, conn *pgx.Conn) liveSession {
	id := uuid.NewString
	s := liveSession{user: id(), agent: id(), FixtureSession: standin.FixtureSession{
		ID: id(), Token: "live-" + id(), LinkID: id(), ConversationID: id(), ConversationSessionID: id(),
	}}
	t.Cleanup(func() { s.remove(t, conn) })
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`insert into auth.users (id, email) values ($1, $2)`, []any{s.user, s.user + "@live.example"}},
		{`insert into public.agents (id, name, user_id) values ($1, 'Live', $2)`, []any{s.agent, s.user}},
		{`insert into public.temporary_chat_links (id, agent_id, user_id, vault_link_token_id, title, expires_at)
			values ($1, $2, $3, vault.create_secret($4, $4), 'Live', now() + interval '1 hour')`, []any{s.LinkID, s.agent, s.user, "link-" + s.Token}},
		{`insert into public.conversation_sessions (id, conversation_id, agent_id) values ($1, $2, $3)`,
			[]any{s.ConversationSessionID, s.ConversationID, s.agent}},
		{`insert into public.temporary_chat_sessions (id, link_id, vault_session_token_id, conversation_id, conversation_session_id)
			values ($1, $2, vault.create_secret($3, $3), $4, $5)`,
			[]any{s.ID, s.LinkID, s.Token, s.ConversationID, s.ConversationSessionID}},
	} {
		_, err := conn.Exec(ctx, step.sql, step.args...)
		require.NoError(t, err)
	}
	return s
}

// remove deletes what was created; the rest goes by cascade.
func (s liveSession) remove(t *testing.T, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, step := range [][2]string{
		{`delete from public.chat_messages_v2 where conversation_id = $1`, s.ConversationID},
		{`delete from public.temporary_chat_links where id = $1`, s.LinkID},
		{`delete from public.conversation_sessions where conversation_id = $1`, s.ConversationID},
		{`delete from vault.secrets where name in ($1, 'link-' || $1)`, s.Token},
		{`delete from public.agents where id = $1`, s.agent},
		{`delete from auth.users where id = $1`, s.user},
	} {
		_, err := conn.Exec(ctx, step[0], step[1])
		assert.NoError(t, err, step[0])
	}
}

// say stores a row: the visitor's own, or the agent's.
func (s liveSession) say(ctx context.Context, t *testing.T, conn *pgx.Conn, text string, agent bool) (id string) {
	id = uuid.NewString()
	role, sender := "system", any(nil)
	content := map[string]any{"type": "text", "text": text}
	if agent {
		role, sender = "assistant", s.agent
	} else {
		content["metadata"] = map[string]any{"temp_session_id": s.ID, "is_anonymous_user": true}
	}
	_, err := conn.Exec(ctx, `insert into public.chat_messages_v2 (id, conversation_id, session_id, role, sender_agent_id, content)
		values ($1, $2, $3, $4, $5, $6)`, id, s.ConversationID, s.ConversationSessionID, role, sender, content)
	require.NoError(t, err)
	return id
}

func (p project) visit(ctx context.Context, t *testing.T, conn *pgx.Conn, n *node) {
	s := newLiveSession(ctx, t, conn)
	v := &proxytest.Visitor{Base: n.base, Token: s.Token}
	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer events.Close()
	require.Equal(t, http.StatusOK, events.Status)
	_, err = events.Until("connected")
	require.NoError(t, err)
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	defer socket.Close()
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)

	for i := range 6 {
		id := s.say(ctx, t, conn, fmt.Sprint("live ", i), i%2 == 1)
		overEvents, err := events.Message()
		require.NoError(t, err)
		overSocket, err := socket.ChatMessage(ctx)
		require.NoError(t, err)
		assert.Equal(t, id, overEvents.ID)
		assert.Equal(t, id, overSocket.ID)
	}
	sent, err := v.Send(ctx, "from the visitor", "live-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, sent.Status, sent.Body)
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, sent.Body["message_id"], m.ID)

	cursor := events.LastID
	events.Close()
	var missed, got []string
	for i := range 3 {
		missed = append(missed, s.say(ctx, t, conn, fmt.Sprint("missed ", i), false))
	}
	back, err := v.Events(ctx, proxytest.EventsOptions{Cursor: cursor})
	require.NoError(t, err)
	defer back.Close()
	for range missed {
		m, err := back.Message()
		require.NoError(t, err)
		got = append(got, m.ID)
	}
	assert.Equal(t, missed, got)

	_, err = conn.Exec(ctx, `update public.temporary_chat_sessions set status = 'terminated', ended_at = now(), end_reason = 'terminated' where id = $1`, s.ID)
	require.NoError(t, err)
	ended, err := back.Until("session_ended")
	require.NoError(t, err)
	assert.True(t, strings.Contains(ended.Data, s.ID))
}
