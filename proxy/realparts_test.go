package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// onEachPostgres runs a test on the embedded PostgreSQL and, where it is installed, on Debian's.
func onEachPostgres(t *testing.T, profile stack.Profile, test func(t *testing.T, w *realWorld)) {
	kinds := []string{stack.Embedded}
	if stack.Available(stack.Debian) == nil {
		kinds = append(kinds, stack.Debian)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, newRealWorld(t, stack.Options{Postgres: kind, Profile: profile})) })
	}
}

func TestRealPartsRowsReachExactlyTheVisitorsTheyAreGrantedTo(t *testing.T) {
	onEachPostgres(t, stack.Profile{Relaxed: true}, func(t *testing.T, w *realWorld) {
		n := w.start(nil)
		names := map[string]string{}
		type open struct {
			events *proxytest.Events
			socket *proxytest.Socket
			cursor string
		}
		streams := map[string]open{}
		for name, session := range sessions(w.fixture) {
			v := n.visitor(session)
			events := watch(t, w.ctx, v)
			socket := talk(t, w.ctx, v)
			poll, err := v.Poll(w.ctx, "", 0, 0)
			require.NoError(t, err)
			streams[name] = open{events, socket, poll.Cursor}
		}
		for _, name := range rowNames {
			names[w.insert(fresh(w.fixture.Rows[name]))] = name
		}
		for name, session := range sessions(w.fixture) {
			w.say(session, "sentinel of "+name)
		}
		for name, session := range sessions(w.fixture) {
			newSeen := func() *seen { return &seen{t: t, names: names, result: map[string]string{}} }
			readEvents(t, streams[name].events, newSeen(), granted[name])
			readSocket(t, w.ctx, streams[name].socket, newSeen(), granted[name])
			readPolls(t, w.ctx, n.visitor(session), streams[name].cursor, newSeen(), granted[name])
		}
	})
}

func TestRealPartsValidation(t *testing.T) {
	for _, variant := range []stack.Variant{stack.VariantA, stack.VariantD, stack.VariantE} {
		t.Run("variant "+string(variant), func(t *testing.T) {
			w := newRealWorld(t, stack.Options{Profile: stack.Profile{Validate: variant}})
			n := w.start(nil)
			reply, err := n.visitor(w.fixture.Visitor).Poll(w.ctx, "", 0, 0)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, reply.Status)
			unknown := standin.FixtureSession{Token: "this-token-is-of-good-shape-and-unknown"}
			reply, err = n.visitor(unknown).Poll(w.ctx, "", 0, 0)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUnauthorized, reply.Status)
			for _, over := range []standin.FixtureSession{w.fixture.ExpiredVisitor, w.fixture.InactiveVisitor} {
				reply, err = n.visitor(over).Poll(w.ctx, "", 0, 0)
				require.NoError(t, err)
				assert.Contains(t, []int{http.StatusUnauthorized, http.StatusGone}, reply.Status)
			}
		})
	}
	w := newRealWorld(t, stack.Options{})
	n := w.start(func(o *proxy.Options) { o.Supabase.RequestTimeout = time.Second })
	const head = `drop function if exists public.validate_temp_chat_session(text);`
	body := func(statement string) string {
		return head + `create function public.validate_temp_chat_session(p_session_token text) returns table (is_valid boolean)
			language plpgsql security definer as $$ begin ` + statement + ` end $$;`
	}
	for name, sql := range map[string]string{
		"42703 as deployed":         body(`return query select s.expires_at is null from temporary_chat_sessions s;`),
		"42883 a missing function":  body(`perform vault.decrypt_secret(gen_random_uuid());`),
		"404 no validation at all":  head,
		"P0001 raised":              body(`raise exception 'Access denied';`),
		"57014 statement timeout":   body(`raise exception using errcode = '57014', message = 'canceling statement due to statement timeout';`),
		"no answer within the time": body(`perform pg_sleep(3);`),
	} {
		t.Run(name, func(t *testing.T) {
			w.exec(sql)
			require.NoError(t, w.stack.ReloadSchema(w.ctx))
			v := n.visitor(standin.FixtureSession{Token: "token-" + uuid.NewString()})
			reply, err := v.Poll(w.ctx, "", 0, 0)
			require.NoError(t, err)
			assert.Equal(t, http.StatusServiceUnavailable, reply.Status, "a broken database is no answer about a token")
		})
	}
}

func TestRealPartsConcurrentWritersWhoseCommitOrderDiffersFromTheirClocks(t *testing.T) {
	onEachPostgres(t, stack.Profile{}, func(t *testing.T, w *realWorld) {
		// On a busy machine a read could be ahead of the channel.
		n := w.start(func(o *proxy.Options) { o.Feed.ReconcileInterval = time.Hour })
		events := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
		const writers, rounds = 8, 15
		var committed []string
		var commit sync.Mutex
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					ids, err := w.writeSlowly(&commit, &committed)
					if !assert.NoError(t, err, ids) {
						return
					}
				}
			})
		}
		var got []string
		for range writers * rounds {
			m, err := events.Message()
			require.NoError(t, err)
			assert.False(t, m.Recovered || m.Replayed)
			got = append(got, m.ID)
		}
		wg.Wait()
		assert.Equal(t, committed, got, "live rows keep commit order")
	})
}

// writeSlowly inserts a row in a transaction that stays open for a while; its created_at is that of the beginning.
func (w *realWorld) writeSlowly(commit *sync.Mutex, committed *[]string) (id string, err error) {
	conn, err := w.stack.Conn(w.ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(w.ctx) }() // what matters is committed
	tx, err := conn.Begin(w.ctx)
	if err != nil {
		return "", err
	}
	id = uuid.NewString()
	s := w.fixture.Visitor
	_, err = tx.Exec(w.ctx, `insert into chat_messages_v2 (id, conversation_id, session_id, role, content)
		values ($1, $2, $3, 'system', jsonb_build_object('type', 'text', 'text', 'hello',
			'metadata', jsonb_build_object('temp_session_id', $4::text, 'is_anonymous_user', true)))`,
		id, s.ConversationID, s.ConversationSessionID, s.ID)
	if err != nil {
		return id, err
	}
	if _, err = tx.Exec(w.ctx, `select pg_sleep($1)`, rand.Float64()/20); err != nil {
		return id, err
	}
	commit.Lock()
	defer commit.Unlock()
	if err = tx.Commit(w.ctx); err == nil {
		*committed = append(*committed, id)
	}
	return id, err
}

func TestRealPartsARowOfTwoMegabytesIsReadById(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	n := w.start(nil)
	events := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
	row := fresh(w.fixture.Rows["m02"])
	row["metadata"] = map[string]any{"llm_calls": strings.Repeat("private ", 1<<18)}
	id := w.insert(row)
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	assert.Equal(t, "Mostly good, login was slow", m.Content)
	assert.Equal(t, 1.0, metric(t, n, "realtime_proxy_feed_repairs_total"))
}

func TestRealPartsPostgreSQLStoppedForTenSeconds(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	n := w.start(nil)
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	before := w.say(w.fixture.Visitor, "before")
	require.NoError(t, w.stack.StopPostgres())
	require.NoError(t, w.source.WaitLost(w.ctx))
	stopped := time.Now()
	reply, err := v.Send(w.ctx, "while it is away", "c-away")
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, reply.Status)
	assert.NotEmpty(t, reply.Header.Get("Retry-After"))
	<-time.After(time.Until(stopped.Add(10 * time.Second))) // the outage is the input of this test
	require.NoError(t, w.stack.StartPostgres(w.ctx))
	require.NoError(t, w.stack.WaitREST(w.ctx))
	unseen := w.say(w.fixture.Visitor, "before the log is read again") // Realtime never brings it
	require.NoError(t, w.source.WaitStreaming(w.ctx))
	after := w.say(w.fixture.Visitor, "after")
	want := map[string]bool{before: true, unseen: true, after: true}
	got := map[string]bool{}
	for len(got) < len(want) {
		m, err := events.Message()
		require.NoError(t, err)
		assert.False(t, got[m.ID], "doubled")
		got[m.ID] = true
	}
	assert.Equal(t, want, got)
}

func TestRealPartsPostgRESTKilled(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	n := w.start(nil)
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	w.stack.KillPostgREST()
	newcomer := n.visitor(w.fixture.SharedOther)
	reply, err := newcomer.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, reply.Status)
	var id string
	w.exec(`insert into chat_messages_v2 (id, conversation_id, session_id, role, content)
		values ('70000000-0000-4000-8000-000000000001', '` + w.fixture.Visitor.ConversationID + `', '` +
		w.fixture.Visitor.ConversationSessionID + `', 'system', '{"type":"text","text":"live all the same",
		"metadata":{"temp_session_id":"` + w.fixture.Visitor.ID + `","is_anonymous_user":true}}')`)
	id = "70000000-0000-4000-8000-000000000001"
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	require.NoError(t, w.stack.StartPostgREST(w.ctx))
	reply, err = newcomer.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, reply.Status)
}

func TestRealPartsSendThroughTheFunction(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	n := w.start(nil)
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	reply, err := v.Send(w.ctx, "Hello, is anybody there?", "c-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	for _, want := range []struct{ role, id string }{{"user", "message_id"}, {"assistant", "assistant_message_id"}} {
		m, err := events.Message()
		require.NoError(t, err)
		assert.Equal(t, want.role, m.Role)
		assert.Equal(t, reply.Body[want.id], m.ID)
		assert.False(t, m.Unstored)
	}
}

func TestRealPartsSendsObeyTheTable(t *testing.T) {
	w := newRealWorld(t, stack.Options{Profile: stack.Profile{Strict: true}})
	n := w.start(func(o *proxy.Options) { o.SendVia = "insert" })
	v := n.visitor(w.fixture.Visitor)
	reply, err := v.Send(w.ctx, "stored", "c-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	again, err := v.Send(w.ctx, "stored", "c-1")
	require.NoError(t, err)
	assert.Equal(t, reply.Body["message_id"], again.Body["message_id"])
	w.exec(`alter table chat_messages_v2 add constraint no_bees check (content ->> 'text' not like '%bee%')`)
	refused, err := v.Send(w.ctx, "a bee", "c-2")
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	assert.NotContains(t, fmt.Sprint(refused.Body), "no_bees", "driver texts stay inside")
}

func TestRealPartsEndings(t *testing.T) {
	for name, sql := range map[string]string{
		"session ended":    `update temporary_chat_sessions set status = 'ended', ended_at = now(), end_reason = 'completed' where id = '%[1]s'`,
		"session deleted":  `delete from temporary_chat_sessions where id = '%[1]s'`,
		"link deactivated": `update temporary_chat_links set is_active = false where id = '%[2]s'`,
		"link deleted":     `delete from temporary_chat_links where id = '%[2]s'`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newRealWorld(t, stack.Options{})
			n := w.start(nil)
			require.NoError(t, w.standin.WaitLive(w.ctx, standin.TableSessions))
			require.NoError(t, w.standin.WaitLive(w.ctx, standin.TableLinks))
			events := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
			w.exec(fmt.Sprintf(sql, w.fixture.Visitor.ID, w.fixture.Visitor.LinkID))
			_, err := events.Until("session_ended")
			require.NoError(t, err)
			_, err = events.Next()
			assert.Error(t, err)
		})
	}
}

func TestRealPartsSessionEndsThoughItsFunctionCannot(t *testing.T) {
	for name, strict := range map[string]bool{"strict": true, "not strict": false} {
		t.Run(name, func(t *testing.T) {
			w := newRealWorld(t, stack.Options{Profile: stack.Profile{BrokenEnd: true, Strict: strict, Publication: stack.PublicationMessages}})
			p := newPage(w.world, w.start(pagesFrom(pageOrigin)))
			session := p.open(w.fixture.Isolated)
			events := p.listen(session)
			require.Equal(t, "connected", p.next(events, nil).Type)
			status, answer := p.call("temporary-chat-api/end-session", "", map[string]any{
				"session_token": session["session_token"], "satisfaction_rating": 4, "feedback_text": "fine", "end_reason": "left the page",
			})
			require.Equal(t, http.StatusOK, status, answer)
			assert.Equal(t, "completed", answer["end_reason"])
			require.Equal(t, "session_ended", p.next(events, nil).Type, "though the sessions table is not published")
			w.exec(fmt.Sprintf(`do $$ begin
				assert (select status = 'ended' and end_reason = 'completed' and ended_at >= started_at and satisfaction_rating = 4
					and feedback_text = 'fine' and session_duration_seconds is not null from temporary_chat_sessions where id = '%[1]s');
				assert (select c.status = 'completed' from conversation_sessions c
					join temporary_chat_sessions s on s.conversation_session_id = c.id where s.id = '%[1]s');
			end $$`, session["id"]))
			status, _ = p.end(session)
			assert.Equal(t, http.StatusNotFound, status)
		})
	}
}

func TestRealPartsEndOfAVisitLeavesTheOwnersConversationOpen(t *testing.T) {
	w := newRealWorld(t, stack.Options{Profile: stack.Profile{BrokenEnd: true, Strict: true}})
	v := w.start(nil).visitor(w.fixture.Shared)
	reply, err := v.Post(w.ctx, "/temporary-chat-api/end-session", map[string]any{"session_token": v.Token})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	w.exec(fmt.Sprintf(`do $$ begin
		assert (select c.status = 'active' and c.user_id is not null from conversation_sessions c
			join temporary_chat_sessions s on s.conversation_session_id = c.id where s.id = '%s');
	end $$`, w.fixture.Shared.ID))
}

func TestRealPartsTotalCountsTheVisitorsOwnRows(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	w.exec(fmt.Sprintf(`update temporary_chat_links set max_messages_per_session = 3 where id = '%s'`, w.fixture.Isolated.ID))
	v := w.start(nil).visitor(w.fixture.Visitor)
	w.say(w.fixture.Visitor, "one of before")
	older := fresh(w.fixture.Rows["m02"]) // older functions named the session differently
	older["content"] = map[string]any{"type": "text", "text": "another", "metadata": map[string]any{
		"session_id": w.fixture.Visitor.ID, "is_anonymous_user": true,
	}}
	w.insert(older)
	w.insert(fresh(w.fixture.Rows["m01"])) // the agent's
	w.insert(fresh(w.fixture.Rows["m13"])) // somebody else's
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		reply, err := v.Send(w.ctx, "Hello", "")
		require.NoError(t, err)
		assert.Equal(t, want, reply.Status, reply.Body)
	}
}

func TestRealPartsListsOfALinkAreAppliedWhileConnected(t *testing.T) {
	w := newRealWorld(t, stack.Options{})
	p := newPage(w.world, w.start(func(o *proxy.Options) {
		o.AllowedOrigins = []string{pageOrigin}
		o.Session.RecheckInterval, o.Session.ConfirmWithin = 500*time.Millisecond, time.Minute
	}))
	session := map[string]any{"session_token": w.fixture.Visitor.Token}
	events := p.listen(session)
	require.Equal(t, "connected", p.next(events, nil).Type)
	w.exec(fmt.Sprintf(`update temporary_chat_links set allowed_ips = '{127.0.0.0/8,2001:db8::1}', allowed_domains = '{localhost}' where id = '%s'`,
		w.fixture.Isolated.ID))
	id := w.say(w.fixture.Visitor, "still here")
	var m proxytest.Message
	require.Equal(t, "message", p.next(events, &m).Type)
	assert.Equal(t, id, m.ID)
	w.exec(fmt.Sprintf(`update temporary_chat_links set allowed_ips = '{198.51.100.7/24}' where id = '%s'`, w.fixture.Isolated.ID))
	var refused struct{ Code string }
	require.Equal(t, "error", p.next(events, &refused).Type)
	assert.Equal(t, "address_not_allowed", refused.Code)
	status, _ := p.send(session, "Hello?")
	assert.Equal(t, http.StatusForbidden, status)
}
