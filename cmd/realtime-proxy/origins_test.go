package main_test

import (
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// fromPage polls as a page of that origin does.
func fromPage(t *testing.T, base, origin, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/temporary-chat-messages?session_token="+token, nil)
	require.NoError(t, err)
	req.Header.Set("Origin", origin)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestServeLetsThePagesCallThatItsSettingsName(t *testing.T) {
	up, token := spawnStandin(t), standin.NewFixture().Visitor.Token
	for name, tt := range map[string]struct {
		settings []string
		own      int
	}{
		"without its own page": {[]string{pageAllowed}, http.StatusForbidden},
		"with its own page":    {[]string{pageAllowed, "PROXY_CHAT_PAGE=true"}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			_, at := spawnProxy(t, up, tt.settings...)
			base := "http://" + at.Listen
			for origin, status := range map[string]int{
				appOrigin: http.StatusOK, "http://localhost:3000": http.StatusForbidden, base: tt.own,
			} {
				resp := fromPage(t, base, origin, token)
				assert.Equal(t, status, resp.StatusCode, origin)
				allowed := ""
				if status == http.StatusOK {
					allowed = origin
				}
				assert.Equal(t, allowed, resp.Header.Get("Access-Control-Allow-Origin"), origin)
			}
		})
	}
}

func TestOnlyDevLetsEveryPageCall(t *testing.T) {
	_, base, token := spawnDev(t)
	for _, origin := range []string{"https://any.test", "null", base} {
		resp := fromPage(t, base, origin, token)
		assert.Equal(t, http.StatusOK, resp.StatusCode, origin)
		assert.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"), origin)
	}

	serve := exec.Command(binary, "serve")
	serve.Dir, serve.Env = t.TempDir(), environ("PROXY_CORS_ALLOWED_ORIGINS=*", "SUPABASE_SERVICE_ROLE_KEY=a-key")
	out, err := serve.CombinedOutput()
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended, string(out))
	assert.Contains(t, string(out), `cors.allowed_origins[0]: allows every page ("*"), which only the development server accepts`)
}
