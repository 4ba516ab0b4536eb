package standin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const messageColumns = "id,conversation_id,session_id,role,content,sender_user_id,sender_agent_id,created_at,updated_at"

// call is one REST request; key "" is the service key, "none" sends none.
type call struct {
	method, path, body, key string
	query                   [][2]string
	header                  map[string]string
}

func (c call) do(server *standin.Server) *httptest.ResponseRecorder {
	values := url.Values{}
	for _, pair := range c.query {
		values.Add(pair[0], pair[1])
	}
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, "/rest/v1/"+c.path+"?"+values.Encode(), strings.NewReader(c.body))
	key := c.key
	if key == "" {
		key = server.ServiceKey()
	}
	if key != "none" {
		r.Header.Set("apikey", key)
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for name, v := range c.header {
		r.Header.Set(name, v)
	}
	w := httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)
	return w
}

func query(pairs ...string) (q [][2]string) {
	for i := 0; i < len(pairs); i += 2 {
		q = append(q, [2]string{pairs[i], pairs[i+1]})
	}
	return q
}

// world is a relaxed stand-in with the fixture and all thirteen rows.
func world(t *testing.T, opts standin.Options) (*standin.Server, *standin.Fixture) {
	t.Helper()
	opts.Relaxed = true
	server, f := seeded(t, opts)
	for i := range 13 {
		name := "m" + string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10))
		_, err := server.DB().Insert(standin.TableMessages, f.Rows[name])
		require.NoError(t, err)
	}
	return server, f
}

func ids(t *testing.T, f *standin.Fixture, body string) []string {
	t.Helper()
	var rows []struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &rows), body)
	names := []string{}
	for _, row := range rows {
		name := row.ID
		for known, fixed := range f.Rows {
			if fixed["id"] == row.ID {
				name = known
			}
		}
		names = append(names, name)
	}
	return names
}

func TestRESTFilters(t *testing.T) {
	server, f := world(t, standin.Options{})
	c1, c2 := f.Visitor.ConversationID, f.Shared.ConversationID
	for name, test := range map[string]struct {
		query [][2]string
		want  []string
	}{
		"eq": {query("id", "eq."+f.Rows["m04"]["id"].(string)), []string{"m04"}},
		"in keeps the order asked for": {query("conversation_id", "in.("+c1+","+c2+")", "order", "created_at.desc.nullsfirst,id.desc.nullsfirst", "limit", "3"),
			[]string{"m13", "m12", "m11"}},
		"range in one and": {query("and", `(created_at.gte."2026-03-02T10:01:00.000000Z",created_at.lt."2026-03-02T10:02:00.000000Z")`,
			"conversation_id", "in.("+c1+","+c2+")", "order", "created_at.asc.nullslast,id.asc.nullslast"), []string{"m04", "m05"}},
		"next page": {query("and", `(created_at.gte."2026-03-02T10:01:06Z",created_at.lt."9999-12-31T23:59:59.000000Z",`+
			`or(created_at.gt."2026-03-02T10:01:06Z",id.gt.`+f.Rows["m05"]["id"].(string)+`))`,
			"conversation_id", "in.("+c2+")", "order", "created_at.asc.nullslast,id.asc.nullslast"), []string{"m06"}},
		"json path": {query("content->metadata->>client_message_id", "eq.c-17", "content->metadata->>temp_session_id", "eq."+f.Visitor.ID,
			"conversation_id", "eq."+c1, "sender_agent_id", "is.null", "sender_user_id", "is.null"), []string{"m02"}},
		"neq and not":       {query("role", "neq.assistant", "content->>type", "not.eq.text"), []string{"m08"}},
		"or":                {query("or", "(sender_user_id.eq."+f.StrangerID+",role.eq.tool)", "order", "id"), []string{"m08", "m13"}},
		"is null is no eq":  {query("sender_user_id", "eq."+f.AgentID), []string{}},
		"offset":            {query("order", "id", "offset", "12"), []string{"m13"}},
		"quoted in a list":  {query("role", `in.("tool","nope,(x)")`), []string{"m08"}},
		"like":              {query("role", "like.to*"), []string{"m08"}},
		"gt on a timestamp": {query("created_at", "gt.2026-03-02T11:01:00Z"), []string{"m13"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := call{path: "chat_messages_v2", query: append(test.query, [2]string{"select", messageColumns})}.do(server)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.Equal(t, test.want, ids(t, f, w.Body.String()))
		})
	}
}

func TestRESTAnswersInPostgRESTsForm(t *testing.T) {
	at := time.Date(2026, 11, 22, 19, 2, 0, 195758000, time.UTC)
	server, f := seeded(t, standin.Options{Now: func() time.Time { return at }})
	row := with(f.Rows["m02"], standin.Row{"content": map[string]any{"type": "text", "text": "a<b"}})
	delete(row, "created_at")
	_, err := server.DB().Insert(standin.TableMessages, row)
	require.NoError(t, err)
	w := call{path: "chat_messages_v2", query: query("select", "uid:id,content,created_at,kind:content->>type,sender_user_id")}.do(server)
	assert.Equal(t, `[{"uid":"`+row["id"].(string)+`","content":{"text": "a<b", "type": "text"},`+
		`"created_at":"2026-11-22T19:02:00.195758+00:00","kind":"text","sender_user_id":null}]`, w.Body.String())
	assert.Equal(t, "Sun, 22 Nov 2026 19:02:00 GMT", w.Header().Get("Date"))
}

func TestRESTCapsAndCountsRows(t *testing.T) {
	server, f := world(t, standin.Options{MaxRows: 5})
	w := call{path: "chat_messages_v2", query: query("limit", "1000"), header: map[string]string{"Prefer": "count=exact"}}.do(server)
	assert.Len(t, ids(t, f, w.Body.String()), 5)
	assert.Equal(t, "0-4/13", w.Header().Get("Content-Range"))
	w = call{path: "chat_messages_v2", query: query("role", "eq.nobody"), header: map[string]string{"Prefer": "count=exact"}}.do(server)
	assert.Equal(t, "*/0", w.Header().Get("Content-Range"))
}

func TestRESTErrors(t *testing.T) {
	server, f := world(t, standin.Options{})
	expired, err := server.SignToken("service_role", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		call   call
		status int
		code   string
	}{
		"no key":              {call{path: "agents", key: "none"}, 401, ""},
		"wrong key":           {call{path: "agents", key: "sb_secret_wrong"}, 401, ""},
		"wrong bearer":        {call{path: "agents", header: map[string]string{"Authorization": "Bearer x"}}, 401, "PGRST301"},
		"expired bearer":      {call{path: "agents", header: map[string]string{"Authorization": "Bearer " + expired}}, 401, "PGRST303"},
		"unknown table":       {call{path: "nope"}, 404, "PGRST205"},
		"unknown column":      {call{path: "agents", query: query("nope", "eq.1")}, 400, "42703"},
		"unknown selection":   {call{path: "agents", query: query("select", "id,nope")}, 400, "42703"},
		"unknown order":       {call{path: "agents", query: query("order", "nope.asc")}, 400, "42703"},
		"malformed uuid":      {call{path: "agents", query: query("id", "eq.1")}, 400, "22P02"},
		"malformed timestamp": {call{path: "agents", query: query("created_at", "gt.2026-01-01T00:00:00 00:00")}, 400, "22007"},
		"unknown operator":    {call{path: "agents", query: query("id", "foo.1")}, 400, "PGRST100"},
		"unbalanced tree":     {call{path: "agents", query: query("and", "(id.eq.1")}, 400, "PGRST100"},
		"list without braces": {call{path: "agents", query: query("id", "in.1")}, 400, "PGRST100"},
		"negative limit":      {call{path: "agents", query: query("limit", "-1")}, 400, "PGRST100"},
		"embedding":           {call{path: "agents", query: query("select", "id,links(*)")}, 400, "PGRST200"},
		"other schema":        {call{path: "agents", header: map[string]string{"Accept-Profile": "vault"}}, 406, "PGRST106"},
		"method":              {call{path: "agents", method: "PUT"}, 405, "PGRST117"},
		"unknown function":    {call{path: "rpc/nope", method: "POST", body: "{}"}, 404, "PGRST202"},
		"not an object":       {call{path: "agents", method: "POST", body: "7"}, 400, "PGRST102"},
		"unknown body column": {call{path: "agents", method: "POST", body: `{"nope":1}`}, 400, "PGRST204"},
		"duplicate":           {call{path: "agents", method: "POST", body: `{"id":"` + f.AgentID + `","name":"x"}`}, 409, "23505"},
		"not null":            {call{path: "agents", method: "POST", body: `{}`}, 400, "23502"},
		"reference": {call{path: standin.TableConversationSessions, method: "POST",
			body: `{"conversation_id":"` + f.OwnerID + `","agent_id":"` + f.OwnerID + `"}`}, 409, "23503"},
		"check":         {call{path: standin.TableSessions, method: "PATCH", query: query("id", "eq."+f.Visitor.ID), body: `{"status":"gone"}`}, 400, "23514"},
		"write as anon": {call{path: "agents", method: "POST", body: `{"name":"x"}`, key: server.AnonKey()}, 401, "42501"},
	} {
		t.Run(name, func(t *testing.T) {
			w := test.call.do(server)
			assert.Equal(t, test.status, w.Code, w.Body)
			var body struct{ Code, Message string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			assert.Equal(t, test.code, body.Code)
			assert.NotEmpty(t, body.Message)
			if test.code == "" {
				assert.NotContains(t, w.Body.String(), "sb_secret_wrong")
			}
		})
	}
}

func TestAnonSeesActiveLinksOnly(t *testing.T) {
	server, f := world(t, standin.Options{})
	for table, want := range map[string]int{
		standin.TableMessages: 0, standin.TableSessions: 0, standin.TableConversationSessions: 0, standin.TableLinks: 3,
	} {
		w := call{path: table, key: server.AnonKey()}.do(server)
		require.Equal(t, http.StatusOK, w.Code)
		assert.Len(t, ids(t, f, w.Body.String()), want, table)
	}
	token, err := server.SignToken("authenticated", time.Now().Add(time.Hour))
	require.NoError(t, err)
	w := call{path: standin.TableSessions, key: token}.do(server)
	assert.Len(t, ids(t, f, w.Body.String()), 6, "any signed-in user reads every session")
}

func TestRevokedTableIsForbidden(t *testing.T) {
	server, _ := world(t, standin.Options{})
	server.DB().Revoke(standin.TableMessages, "service_role")
	assert.Equal(t, http.StatusForbidden, call{path: standin.TableMessages}.do(server).Code)
	server.DB().Grant(standin.TableMessages, "service_role")
	assert.Equal(t, http.StatusOK, call{path: standin.TableMessages}.do(server).Code)
}

func TestInsertIgnoresDuplicates(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	body, err := json.Marshal(f.Rows["m02"])
	require.NoError(t, err)
	c := call{method: "POST", path: "chat_messages_v2", body: string(body), query: query("on_conflict", "id", "select", messageColumns),
		header: map[string]string{"Prefer": "return=representation,resolution=ignore-duplicates"}}
	w := c.do(server)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	assert.Equal(t, []string{"m02"}, ids(t, f, w.Body.String()))
	w = c.do(server)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	assert.Equal(t, "[]", w.Body.String())

	c.header["Prefer"] = "return=minimal,resolution=merge-duplicates"
	c.body = strings.Replace(c.body, "login was slow", "it was quick", 1)
	w = c.do(server)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	assert.Empty(t, w.Body.String())
	row, _ := server.DB().Row(standin.TableMessages, f.Rows["m02"]["id"].(string))
	assert.Contains(t, string(row["content"].(json.RawMessage)), "it was quick")
}

func TestPatchAndDelete(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	w := call{method: "PATCH", path: standin.TableSessions, query: query("id", "eq."+f.Visitor.ID, "select", "id"), body: `{"status":"ended"}`,
		header: map[string]string{"Prefer": "return=representation"}}.do(server)
	assert.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `[{"id":"`+f.Visitor.ID+`"}]`, w.Body.String())
	w = call{method: "PATCH", path: standin.TableSessions, query: query("id", "eq."+f.OwnerID), body: `{"status":"ended"}`}.do(server)
	assert.Equal(t, http.StatusNoContent, w.Code)
	w = call{method: "DELETE", path: standin.TableLinks, query: query("id", "eq."+f.Isolated.ID)}.do(server)
	assert.Equal(t, http.StatusNoContent, w.Code)
	_, ok := server.DB().Row(standin.TableSessions, f.Visitor.ID)
	assert.False(t, ok)
}

func TestSingleObject(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	object := map[string]string{"Accept": "application/vnd.pgrst.object+json"}
	w := call{path: "agents", query: query("select", "id,name"), header: object}.do(server)
	assert.Equal(t, `{"id":"`+f.AgentID+`","name":"Ada"}`, w.Body.String())
	w = call{path: standin.TableLinks, header: object}.do(server)
	assert.Equal(t, http.StatusNotAcceptable, w.Code)
}

func TestValidateVariants(t *testing.T) {
	server, f := world(t, standin.Options{})
	rpc := func(token string) *httptest.ResponseRecorder {
		return call{method: "POST", path: "rpc/validate_temp_chat_session", body: `{"p_session_token":"` + token + `"}`}.do(server)
	}
	rows := func(w *httptest.ResponseRecorder) []map[string]any {
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var rows []map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &rows))
		return rows
	}
	for name, test := range map[string]struct {
		variant standin.Variant
		columns int
		title   string
	}{
		"A": {standin.VariantA, 13, "title"}, "B": {standin.VariantB, 10, "link_title"}, "C": {standin.VariantC, 10, "link_title"},
		"D": {standin.VariantD, 10, "link_title"}, "E": {standin.VariantE, 12, "link_title"},
	} {
		t.Run(name, func(t *testing.T) {
			server.DB().SetValidateVariant(test.variant)
			good := rows(rpc(f.Visitor.Token))
			require.Len(t, good, 1)
			assert.Len(t, good[0], test.columns)
			assert.Equal(t, true, good[0]["is_valid"])
			assert.Equal(t, f.Visitor.ID, good[0]["session_id"])
			assert.Equal(t, "Pilot feedback", good[0][test.title])
			assert.InDelta(t, 1, good[0]["current_message_count"], 0, "rows of role user count, the owner's m11 here")

			unknown := rows(rpc("nobody"))
			expired := rows(rpc(f.ExpiredVisitor.Token))
			require.Len(t, expired, 1)
			assert.Equal(t, false, expired[0]["is_valid"])
			inactive := rows(rpc(f.InactiveVisitor.Token))
			if test.variant == standin.VariantA {
				assert.Empty(t, unknown)
				assert.Equal(t, false, inactive[0]["is_valid"])
				return
			}
			require.Len(t, unknown, 1)
			assert.Equal(t, false, unknown[0]["is_valid"])
			assert.Nil(t, unknown[0]["session_id"])
			assert.Equal(t, true, inactive[0]["is_valid"], "B to E ignore that the link is inactive")
		})
	}
	for name, test := range map[string]struct {
		variant standin.Variant
		status  int
		code    string
	}{
		"column": {standin.VariantBrokenColumn, 400, "42703"}, "function": {standin.VariantBrokenFunction, 404, "42883"},
		"raises": {standin.VariantRaises, 400, "P0001"}, "timeout": {standin.VariantTimeout, 500, "57014"},
		"missing": {standin.VariantMissing, 404, "PGRST202"},
	} {
		t.Run("broken "+name, func(t *testing.T) {
			server.DB().SetValidateVariant(test.variant)
			w := rpc(f.Visitor.Token)
			assert.Equal(t, test.status, w.Code)
			assert.Contains(t, w.Body.String(), test.code)
		})
	}
}

func TestTokensHaveTheShapeOfTheField(t *testing.T) {
	f := standin.NewFixture()
	assert.Len(t, f.Visitor.Token, 63)
	assert.Len(t, f.Isolated.Token, 94)
	assert.NotEqual(t, f.Visitor.Token, f.Shared.Token)
}

func FuzzRESTQuery(f *testing.F) {
	for _, q := range []string{"and=(a.eq.1)", "id=in.(1,2)", `or=(name.eq."x\"y",not.and(id.is.null,name.like.a*))`, "select=a:name->b->>c", "order=id.desc"} {
		f.Add(q)
	}
	server, err := standin.New(standin.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, q string) {
		r := httptest.NewRequest(http.MethodGet, "/rest/v1/agents", nil)
		r.URL.RawQuery = q
		r.Header.Set("apikey", server.ServiceKey())
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK && (w.Code < 400 || w.Code >= 500) {
			t.Fatalf("status %d for %q", w.Code, q)
		}
	})
}
