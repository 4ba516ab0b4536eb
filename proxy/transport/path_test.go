package transport_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A page whose base URL ends with a slash calls paths that begin with two.
func TestABaseURLMayEndWithASlash(t *testing.T) {
	g := newSendRig(t, 200, "{}", nil)
	for _, slashes := range []string{"/", "//"} {
		t.Run("with "+slashes, func(t *testing.T) {
			for name, r := range map[string]struct {
				method, path, body string
				status             int
			}{
				"poll":        {"GET", pollPath + "?session_token=" + rigToken, "", 200},
				"ticket":      {"POST", "/functions/v1/temporary-chat-ticket", `{"session_token":"` + rigToken + `"}`, 200},
				"broadcast":   {"POST", broadcastPath, `{"messages":[{"topic":"a","event":"b","payload":{}}]}`, 202},
				"preflight":   {"OPTIONS", sendPath, "", 200},
				"escapes":     {"POST", broadcastPath + "/a%2Fb/events/c", "{}", 202},
				"other path":  {"GET", "/rest/v1/messages", "", 404},
				"hidden path": {"GET", "/x/.." + pollPath, "", 404},
				"slash again": {"GET", "/functions/v1/" + pollPath, "", 404},
				"escaped":     {"GET", "/%2F" + pollPath[1:], "", 404},
			} {
				t.Run(name, func(t *testing.T) {
					w := do(g.rig, r.method, slashes+r.path, r.body,
						"Origin", "http://localhost:3000", "Authorization", "Bearer "+rigToken)
					assert.Equal(t, r.status, w.Code, w.Body)
					assert.Empty(t, w.Header().Get("Location"))
					assert.Equal(t, "http://localhost:3000", w.Header().Get("Access-Control-Allow-Origin"))
				})
			}
		})
	}
	t.Run("a stream", func(t *testing.T) {
		events := g.openEvents(g.serve() + "//temporary-chat-events?session_token=" + rigToken)
		for events.must().name != "connected" {
		}
	})
	t.Run("a socket", func(t *testing.T) {
		socket, _, err := websocket.DefaultDialer.Dial("ws"+g.serve()[len("http"):]+"/"+frontPath+"?vsn=1.0.0", nil)
		require.NoError(t, err)
		require.NoError(t, socket.Close())
	})
}

func TestOddRequestsAreRefusedAsAllOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"body of a GET":                 {pollPath, "{}", http.StatusBadRequest, "body_not_allowed"},
		"path not in its shortest form": {"/x/.." + pollPath, "", http.StatusNotFound, "not_found"},
		"unknown path":                  {"/nowhere", "", http.StatusNotFound, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			w := do(g, "GET", tt.path, tt.body, "Origin", "http://localhost:3000")
			assert.Equal(t, tt.status, w.Code)
			for header, want := range map[string]string{
				"Access-Control-Allow-Origin": "http://localhost:3000", "Vary": "Origin", "Referrer-Policy": "no-referrer",
				"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Location": "",
			} {
				assert.Equal(t, want, w.Header().Get(header), header)
			}
			var body struct {
				Code      string
				RequestID string `json:"request_id"`
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			assert.Equal(t, tt.code, body.Code)
			assert.Equal(t, w.Header().Get("X-Request-Id"), body.RequestID)
			assert.NotEmpty(t, body.RequestID)
			assert.EqualValues(t, 1, g.value("refusals_total", "status", strconv.Itoa(tt.status)))
			assert.Contains(t, g.logs.String(), "reason="+tt.code)
			w = do(g, "GET", tt.path, tt.body, "Origin", "https://foreign.test")
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
		})
	}
}
