package transport_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const rigLink = "token-of-a-link-0123456789"

func TestForwardPassesBodyAndAnswerOn(t *testing.T) {
	for _, test := range []struct{ method, path, body, sent string }{
		{"GET", "/health", "", ""},
		{"POST", "/health", "anything", ""},
		{"GET", "", "", ""},
		{"GET", "/", "", ""},
		{"POST", "/validate", `{"token":" token-of-a-link-\n0123456789 ","other":1}`, `{"token":"` + rigLink + `"}`},
		{"POST", "/validate-session", `{"session_token":"y","session_token":"` + rigToken + `"}`, `{"session_token":"` + rigToken + `"}`},
		{"POST", "/create-session", `{"link_token":"` + rigLink + `","participant_name":"Zoë","participant_identifier":null,"other":1,
			"metadata":{"locale":"de","ip":"1.2.3.4","deep":{"a":1}}}`,
			`{"link_token":"` + rigLink + `","participant_name":"Zoë","metadata":{"locale":"de"}}`},
		{"POST", "/end-session", `{"session_token":"` + rigToken + `","satisfaction_rating":5,"feedback_text":"fine\nthanks","end_reason":"max_duration",
			"nested":{"a":1},"list":[1],"metadata":{"a":1}}`,
			`{"session_token":"` + rigToken + `","satisfaction_rating":5,"feedback_text":"fine\nthanks","end_reason":"max_duration"}`},
		{"POST", "/end-session", `{"session_token":"` + rigToken + `","feedback_text":"a\r\nb\rc\td"}`,
			`{"session_token":"` + rigToken + `","feedback_text":"a\nb\nc\td","end_reason":"completed"}`},
		{"POST", "/end-session", `{"session_token":"` + rigToken + `","end_reason":"bored","satisfaction_rating":null}`,
			`{"session_token":"` + rigToken + `","end_reason":"completed"}`},
	} {
		for _, prefix := range []string{apiPath, "/temporary-chat-api"} {
			t.Run(test.method+" "+prefix+test.path, func(t *testing.T) {
				answer := `{"success":true, "data":{"nested":[1]}}`
				g := newSendRig(t, 201, answer, nil)
				w := do(g.rig, test.method, prefix+test.path, test.body, "Authorization", "Bearer anon", "X-Forwarded-For", "1.2.3.4",
					"Cf-Connecting-Ip", "1.2.3.4")
				assert.Equal(t, 201, w.Code)
				assert.Equal(t, answer, w.Body.String(), "as it is")
				require.Len(t, g.functions.all(), 1)
				c := g.functions.all()[0]
				assert.Equal(t, "temporary-chat-api/"+strings.Trim(test.path, "/")+" "+test.method, c.function+"/"+c.path+" "+c.method)
				assert.Equal(t, http.Header{
					"Content-Type": {"application/json"}, "X-Forwarded-For": {"203.0.113.9"}, "X-Real-Ip": {"203.0.113.9"},
				}, c.header)
				if test.sent == "" {
					assert.Empty(t, c.body)
				} else {
					assert.JSONEq(t, test.sent, c.body)
				}
			})
		}
	}
}

func create(more string) string { return `{"link_token":"` + rigLink + `",` + more + `}` }
func end(more string) string    { return `{"session_token":"` + rigToken + `",` + more + `}` }

func TestForwardRefusesTheRest(t *testing.T) {
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"other path":      {"POST", "/debug", "{}", 404, "Not Found"},
		"deeper path":     {"POST", "/validate/x", "{}", 404, "Not Found"},
		"slash behind":    {"POST", "/validate/", "{}", 404, "Not Found"},
		"escaped path":    {"POST", "/validate%2f..%2fhealth", "{}", 404, "Not Found"},
		"other case":      {"POST", "/Validate", "{}", 404, "Not Found"},
		"longer name":     {"POST", "x/validate", "{}", 404, "Not Found"},
		"GET of a call":   {"GET", "/validate", "", 405, "Method not allowed"},
		"DELETE":          {"DELETE", "/health", "", 405, "Method not allowed"},
		"no JSON":         {"POST", "/validate", "token=x", 400, "The request body must be a JSON object"},
		"empty":           {"POST", "/validate", "", 400, "The request body must be a JSON object"},
		"too large":       {"POST", "/validate", `{"token":"` + strings.Repeat("x", 70_000) + `"}`, 413, "The request body is too large"},
		"no link":         {"POST", "/validate", `{}`, 400, "Missing token parameter"},
		"blank link":      {"POST", "/validate", `{"token":" "}`, 400, "Missing token parameter"},
		"link a number":   {"POST", "/validate", `{"token":7}`, 400, "token must be a string"},
		"zero in a link":  {"POST", "/validate", `{"token":"token-of-a-link-\u0000"}`, 404, "Invalid or expired chat link"},
		"short link":      {"POST", "/validate", `{"token":"abc"}`, 404, "Invalid or expired chat link"},
		"create, no link": {"POST", "/create-session", `{}`, 400, "Missing link_token parameter"},
		"create, short":   {"POST", "/create-session", `{"link_token":"abc"}`, 400, "Invalid chat link"},
		"metadata a list": {"POST", "/create-session", create(`"metadata":[]`), 400, "metadata must be an object"},
		"name a list":     {"POST", "/create-session", create(`"participant_name":[]`), 400, "participant_name must be a string"},
		"long name": {"POST", "/create-session", create(`"participant_name":"` + strings.Repeat("ß", 101) + `"`), 400,
			"participant_name is too long (maximum 100 characters)"},
		"lines in a name":    {"POST", "/create-session", create(`"participant_name":"a\nb"`), 400, "participant_name contains control characters"},
		"no session":         {"POST", "/validate-session", `{}`, 400, "Missing session_token parameter"},
		"unknown session":    {"POST", "/validate-session", `{"session_token":"unknown"}`, 401, "Invalid or expired session"},
		"end, no session":    {"POST", "/end-session", `{}`, 400, "Missing session_token parameter"},
		"end, unknown":       {"POST", "/end-session", `{"session_token":"unknown"}`, 404, "Session not found or already ended"},
		"end, reason a list": {"POST", "/end-session", end(`"end_reason":[]`), 400, "end_reason must be a string"},
		"end, huge rating": {"POST", "/end-session", end(`"satisfaction_rating":` + strings.Repeat("9", 400)), 400,
			"satisfaction_rating must be a whole number from 1 to 5"},
		"end, rating of 6":    {"POST", "/end-session", end(`"satisfaction_rating":6`), 400, "satisfaction_rating must be a whole number from 1 to 5"},
		"end, rating of 0":    {"POST", "/end-session", end(`"satisfaction_rating":0`), 400, "satisfaction_rating must be a whole number from 1 to 5"},
		"end, rating of 4.5":  {"POST", "/end-session", end(`"satisfaction_rating":4.5`), 400, "satisfaction_rating must be a whole number from 1 to 5"},
		"end, zero in a text": {"POST", "/end-session", end(`"feedback_text":"a\u0000"`), 400, "feedback_text contains control characters"},
		"end, C1 in a text":   {"POST", "/end-session", end(`"feedback_text":"a\u0085b"`), 400, "feedback_text contains control characters"},
		"end, DEL in a text":  {"POST", "/end-session", end(`"feedback_text":"a\u007fb"`), 400, "feedback_text contains control characters"},
		"end, long text": {"POST", "/end-session", end(`"feedback_text":"` + strings.Repeat("x", 1001) + `"`), 400,
			"feedback_text is too long (maximum 1000 characters)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, "{}", nil)
			w := do(g.rig, test.method, apiPath+test.path, test.body)
			assert.Equal(t, test.status, w.Code)
			assert.Contains(t, w.Body.String(), `"error":"`+test.text+`"`)
			assert.Empty(t, g.functions.all())
		})
	}
}

func TestForwardedErrorsLoseTheirDetails(t *testing.T) {
	const down = `{"error":"The service is temporarily unavailable","code":"upstream_unavailable","retry_after":2}`
	for name, test := range map[string]struct {
		status int
		body   string
		want   int
		answer string
	}{
		"missing": {400, `{"error":"Missing token parameter"}`, 400, `{"error":"Missing token parameter","code":"missing_parameters"}`},
		"unknown link": {404, `{"success":false,"error":"Invalid or expired chat link","details":"SECRET"}`, 404,
			`{"success":false,"error":"Invalid or expired chat link","code":"invalid_link"}`},
		"expired":  {410, `{"success":false,"error":"Chat link has expired"}`, 410, `{"success":false,"error":"Chat link has expired","code":"link_expired"}`},
		"too many": {429, `{"success":false,"error":"Maximum number of chat sessions reached"}`, 429, `{"success":false,"error":"Maximum number of chat sessions reached","code":"too_many_sessions"}`},
		"not valid": {401, `{"error":"Invalid or expired session","valid":false,"reason":"Session not found"}`, 401,
			`{"error":"Invalid or expired session","code":"invalid_session","valid":false,"reason":"Session not found"}`},
		"ended": {404, `{"error":"Session not found or already ended","ended":false}`, 404,
			`{"error":"Session not found or already ended","code":"session_not_found","ended":false}`},
		"create refused":   {400, `{"error":"Maximum sessions reached","valid":false}`, 400, `{"error":"Maximum sessions reached","code":"too_many_sessions","valid":false}`},
		"database at 400":  {400, `{"error":"Session validation failed","details":"SECRET"}`, 503, down},
		"database at 500":  {500, `{"error":"Failed to validate chat link","details":"SECRET"}`, 503, down},
		"driver text":      {400, `{"error":"SECRET column does not exist"}`, 400, `{"error":"The request was not accepted","code":"refused"}`},
		"debug":            {404, `{"error":"Not Found","debug":{"a":"SECRET"}}`, 503, down},
		"success, no JSON": {200, `SECRET`, 503, down},
		"success, too big": {200, `"` + strings.Repeat("S", 1<<20) + `"`, 503, down},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, test.status, test.body, nil)
			w := do(g.rig, "POST", apiPath+"/validate", `{"token":"`+rigLink+`"}`)
			assert.Equal(t, test.want, w.Code)
			assert.JSONEq(t, test.answer, withoutRequestID(t, w.Body.String()))
			assert.NotContains(t, w.Body.String()+g.logs.String(), "SECRET")
			assert.NotContains(t, g.logs.String(), rigLink)
		})
	}
	t.Run("unreachable", func(t *testing.T) {
		g := newSendRig(t, 200, "", nil)
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return nil, errors.New("code network")
		}
		w := do(g.rig, "GET", apiPath+"/health", "")
		assert.Equal(t, 503, w.Code)
		assert.Equal(t, "2", w.Header().Get("Retry-After"))
	})
}

func TestAnAddressMayNotCallTheFunctionAllTheTime(t *testing.T) {
	g := newSendRig(t, 200, `{"success":true}`, func(o *transport.Options) { o.CallsPerSecond = 2 })
	for i, path := range []string{"/health", "", "/validate", "/create-session", "/health"} {
		w := do(g.rig, "POST", apiPath+path, `{"token":"`+rigLink+`","link_token":"`+rigLink+`"}`)
		if i < 4 {
			assert.Equal(t, 200, w.Code, w.Body.String())
			continue
		}
		assert.Equal(t, 429, w.Code)
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
		assert.Contains(t, w.Body.String(), `"too_many_calls"`)
	}
	assert.Len(t, g.functions.all(), 4)
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "calls_per_second"))
}

func TestAddressThatGuessesTokensIsStopped(t *testing.T) {
	g := newSendRig(t, 404, `{"success":false,"error":"Invalid or expired chat link"}`, nil)
	for range 20 {
		require.Equal(t, 404, do(g.rig, "POST", apiPath+"/validate", `{"token":"`+rigLink+`"}`).Code)
	}
	w := do(g.rig, "POST", apiPath+"/validate", `{"token":"`+rigLink+`"}`)
	assert.Equal(t, 429, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Len(t, g.functions.all(), 20)
	assert.NotEqual(t, 429, do(g.rig, "GET", apiPath+"/health", "").Code)
}

func TestTicketForAToken(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	const want = `{"ticket":"ticket-that-is-a-secret","expires_in":120,"session_id":"session-1","conversation_id":"conversation-1"}`
	for name, w := range map[string]struct {
		body   string
		header []string
		status int
	}{
		"in the body":            {`{"session_token":"` + rigToken + `"}`, nil, 200},
		"as bearer":              {``, []string{"Authorization", "Bearer " + rigToken, "Content-Type", ""}, 200},
		"body beats the header":  {`{"session_token":"` + rigToken + `"}`, []string{"Authorization", "Bearer anon"}, 200},
		"none":                   {`{}`, nil, 400},
		"no body":                {``, nil, 400},
		"other type":             {`{"session_token":7}`, nil, 400},
		"unknown":                {`{"session_token":"unknown"}`, nil, 401},
		"anonymous key":          {`{}`, []string{"Authorization", "Bearer anon"}, 401},
		"form instead of object": {`session_token=` + rigToken, nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := do(g.rig, "POST", "/temporary-chat-ticket", w.body, w.header...)
			assert.Equal(t, w.status, got.Code)
			assert.Equal(t, "no-store", got.Header().Get("Cache-Control"))
			if w.status == 200 {
				assert.JSONEq(t, want, got.Body.String())
			}
		})
	}
	assert.Equal(t, 405, do(g.rig, "GET", "/temporary-chat-ticket", "").Code)
	assert.Equal(t, 400, do(g.rig, "POST", "/temporary-chat-ticket?session_token="+rigToken, "{}").Code, "a URL is no place for a token")
	assert.NotContains(t, g.logs.String(), rigToken)
	assert.NotContains(t, g.logs.String(), rigTicket)
}
