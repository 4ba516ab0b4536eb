package standin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// fakeSource is a ChangeSource of functions.
type fakeSource struct {
	published func(role string) ([]standin.PublishedTable, error)
	literal   func(column, text string) (any, error)
	visible   func(role string, c *standin.Change) (bool, error)
}

func (f *fakeSource) Published(_ context.Context, role string) ([]standin.PublishedTable, error) {
	return f.published(role)
}

func (f *fakeSource) Literal(_ context.Context, _ *standin.PublishedTable, column, text string) (any, error) {
	return f.literal(column, text)
}

func (f *fakeSource) Visible(_ context.Context, role string, c *standin.Change) (bool, error) {
	return f.visible(role, c)
}

var foreignTable = standin.PublishedTable{TableDef: standin.TableDef{
	Schema: "public", Name: "things", PrimaryKey: []string{"id"}, RLS: true,
	Columns: []standin.Column{{Name: "id", Type: "int4"}, {Name: "v", Type: "numeric"}},
}}

func thing(id, v string) standin.Change {
	return standin.Change{Table: &foreignTable, Type: "INSERT", Commit: time.Now(),
		Row: standin.Row{"id": json.Number(id), "v": json.Number(v)}}
}

// inForeignBubble runs a test against a stand-in whose changes come from source.
func inForeignBubble(t *testing.T, source *fakeSource, opts standin.Options, test func(t *testing.T, h *harness)) {
	t.Helper()
	if source.published == nil {
		source.published = func(string) ([]standin.PublishedTable, error) { return []standin.PublishedTable{foreignTable}, nil }
	}
	if source.visible == nil {
		source.visible = func(string, *standin.Change) (bool, error) { return true, nil }
	}
	opts.Source = source
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, opts)
		defer stop()
		test(t, h)
	})
}

func TestDeliveredChangesGoToThoseWhoMaySeeThem(t *testing.T) {
	source := &fakeSource{visible: func(role string, c *standin.Change) (bool, error) {
		return role == "service_role" || c.Row["id"] == json.Number("2"), nil
	}}
	inForeignBubble(t, source, standin.Options{}, func(t *testing.T, h *harness) {
		service, anon := h.dial("2.0.0"), h.dialAs(h.server.AnonKey(), "2.0.0")
		defer service.close()
		defer anon.close()
		service.join("1", "a", "things")
		anon.join("1", "b", "things")
		require.NoError(t, h.server.Deliver(t.Context(), []standin.Change{thing("1", "1"), thing("2", "2.50")}))
		assert.JSONEq(t, "1", string(service.nextChange().Data.Record["id"]))
		assert.Equal(t, "2.50", string(service.nextChange().Data.Record["v"]))
		assert.JSONEq(t, "2", string(anon.nextChange().Data.Record["id"]))
		synctest.Wait()
		anon.quiet()
	})
}

func TestDeliveredChangesObeyFiltersAndFaults(t *testing.T) {
	source := &fakeSource{literal: func(column, text string) (any, error) {
		if text == "bad" {
			return nil, &standin.Error{Code: "22P02", Message: "invalid input syntax for type numeric"}
		}
		return json.Number(text), nil
	}}
	inForeignBubble(t, source, standin.Options{PollInterval: time.Second}, func(t *testing.T, h *harness) {
		c := h.dial("2.0.0")
		defer c.close()
		c.send(`["1","1","realtime:bad","phx_join",{"config":{"postgres_changes":[{"event":"*","table":"things","filter":"v=eq.bad"}]}}]`)
		require.Equal(t, phoenix.EventReply, c.next().Event)
		assert.Contains(t, string(c.next().Payload), "ERROR 22P02 (invalid_text_representation) invalid input syntax for type numeric")
		c.send(`["2","2","realtime:good","phx_join",{"config":{"postgres_changes":[{"event":"*","table":"things","filter":"v=gt.2"}]}}]`)
		require.Equal(t, phoenix.EventReply, c.next().Event)
		require.Contains(t, string(c.next().Payload), "Subscribed")

		h.server.Faults().Set(standin.Fault{Kind: standin.DropChanges, Match: "things", Count: 1})
		require.NoError(t, h.server.Deliver(t.Context(), []standin.Change{thing("1", "3"), thing("2", "2.0"), thing("3", "10")}))
		began := time.Now()
		assert.JSONEq(t, "3", string(c.nextChange().Data.Record["id"]), "the first is lost, the second does not match")
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestASourceTakesThePlaceOfTheServersOwnChanges(t *testing.T) {
	source := &fakeSource{published: func(string) ([]standin.PublishedTable, error) {
		return []standin.PublishedTable{foreignTable, {TableDef: standin.TableDef{Schema: "public", Name: standin.TableAgents}}}, nil
	}}
	inForeignBubble(t, source, standin.Options{}, func(t *testing.T, h *harness) {
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "a", standin.TableAgents)
		h.server.DB().SetPublication(standin.TableAgents)
		_, err := h.server.DB().Insert(standin.TableAgents, standin.Row{"name": "Ada"})
		require.NoError(t, err)
		synctest.Wait()
		c.quiet()
	})
}

func TestSubscriptionWaitsForADatabaseThatCannotBeAsked(t *testing.T) {
	var up atomic.Bool
	source := &fakeSource{published: func(string) ([]standin.PublishedTable, error) {
		if !up.Load() {
			return nil, errors.New("connection refused")
		}
		return []standin.PublishedTable{foreignTable}, nil
	}}
	inForeignBubble(t, source, standin.Options{}, func(t *testing.T, h *harness) {
		c := h.dial("2.0.0")
		defer c.close()
		c.send(`["1","1","realtime:a","phx_join",{"config":{"postgres_changes":[{"event":"*","table":"things"}]}}]`)
		require.Equal(t, phoenix.EventReply, c.next().Event)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c.quiet()
		up.Store(true)
		assert.Contains(t, string(c.next().Payload), "Subscribed to PostgreSQL")
	})
}

func TestDeliverReportsChangesThatAreLost(t *testing.T) {
	failed := errors.New("no connection")
	source := &fakeSource{visible: func(string, *standin.Change) (bool, error) { return false, failed }}
	inForeignBubble(t, source, standin.Options{}, func(t *testing.T, h *harness) {
		require.NoError(t, h.server.Deliver(t.Context(), []standin.Change{thing("1", "1")}), "nobody listens, so nobody is asked")
		c := h.dial("2.0.0")
		defer c.close()
		c.join("1", "a", "things")
		require.ErrorIs(t, h.server.Deliver(t.Context(), []standin.Change{thing("1", "1")}), failed)
		require.Error(t, h.server.Deliver(t.Context(), []standin.Change{{Table: &foreignTable, Type: "TRUNCATE"}}))
		h.server.Close()
		require.ErrorIs(t, h.server.Deliver(t.Context(), nil), standin.ErrClosed)
	})
}

func TestAnotherRESTServerAnswersBehindTheFaults(t *testing.T) {
	rest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	inForeignBubble(t, &fakeSource{}, standin.Options{REST: rest}, func(t *testing.T, h *harness) {
		get := func() (int, string) {
			res, err := h.http.Get("http://standin/rest/v1/anything")
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			return res.StatusCode, string(body)
		}
		h.server.Faults().Set(standin.Fault{Kind: standin.FailHTTP, Match: "/rest/v1/", Count: 1, Status: http.StatusBadGateway})
		status, _ := get()
		assert.Equal(t, http.StatusBadGateway, status)
		status, body := get()
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "/rest/v1/anything", body)
	})
}
