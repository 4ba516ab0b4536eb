package standin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestHandshakeAnswersAsRecorded(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		var note string
		for _, l := range readRecording(t, "11-connect-auth-"+version) {
			if l.Dir == "note" {
				note = l.Note
			}
			if l.Dir != "in" || l.HTTP == "" || strings.HasPrefix(l.HTTP, "101") {
				continue
			}
			if strings.Contains(note, "host") || strings.Contains(note, "path") {
				continue // one tenant, and both the gateway's and the server's own path
			}
			t.Run(note+" "+version, func(t *testing.T) {
				inBubble(t, standin.Options{HandshakeBackoff: 2 * time.Second}, func(t *testing.T, h *harness, _ *standin.Fixture) {
					began := time.Now()
					_, res, err := h.tryURL(h.recordedURL(note))
					require.Error(t, err)
					require.NotNil(t, res)
					assert.True(t, strings.HasPrefix(l.HTTP, res.Status[:3]), "%s, recorded %s", res.Status, l.HTTP[:3])
					body := make([]byte, 1024)
					n, _ := res.Body.Read(body)
					assert.Equal(t, l.Frame, string(body[:n]))
					if l.Frame != "" {
						assert.Equal(t, 2*time.Second, time.Since(began))
					}
				})
			})
		}
	}
}

func (h *harness) tryURL(query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{NetDialContext: h.listener.dial}
	return d.DialContext(h.t.Context(), "ws://standin/socket/websocket?"+query, header)
}

// recordedURL gives the query and the headers of the handshakes in recording 11, whose keys are not in the file.
func (h *harness) recordedURL(note string) (string, http.Header) {
	key := func(token string) (string, http.Header) { return "vsn=2.0.0&apikey=" + token, nil }
	good := h.server.ServiceKey()
	const claimless = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
	switch note {
	case "no apikey":
		return "vsn=2.0.0", nil
	case "empty apikey":
		return key("")
	case "apikey garbage":
		return key("garbage")
	case "apikey three dots garbage":
		return key("a.b.c")
	case "expired JWT":
		token, err := h.server.SignToken("service_role", time.Now().Add(-time.Minute))
		require.NoError(h.t, err)
		return key(token)
	case "wrong signature":
		return key(good[:strings.LastIndexByte(good, '.')+1] + "dtu96HFCE6fj9MwMtfK3V8NQpqJSAnXlSFLCg5zKOdI")
	case "no exp claim":
		return key(claimless + "eyJyb2xlIjoic2VydmljZV9yb2xlIn0.M2d2z4SFn5C7HlJlaSLfrzuYim9nbY_XI40uWFN3hEE")
	case "no role claim":
		return key(claimless + "eyJleHAiOjIwODcwMDAwMDB9.4bWd-eC4pkqQru6MffpQK4vTTeKtlu9Oz1td7c1Oxtk")
	case "alg none":
		return key("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIiwiZXhwIjoyMDg3MDAwMDAwfQ.")
	case "JWT in Authorization: Bearer header only":
		return "vsn=2.0.0", http.Header{"Authorization": {"Bearer " + good}}
	case "new style key sb_secret_xxx as apikey (no gateway in front)":
		return key("sb_secret_xxx")
	case "vsn=3.0.0":
		return "vsn=3.0.0&apikey=" + good, nil
	}
	require.FailNow(h.t, "unknown handshake", note)
	return "", nil
}

func TestKeyInHeaderIsAccepted(t *testing.T) {
	inBubble(t, standin.Options{ServiceKey: "sb_secret_mine"}, func(t *testing.T, h *harness, _ *standin.Fixture) {
		conn, _, err := h.tryURL("vsn=2.0.0", http.Header{"X-Api-Key": {"sb_secret_mine"}})
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
}
