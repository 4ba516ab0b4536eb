package main_test

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

var devLines = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)/chat#token=(\S+)`)

// spawnDev starts dev and returns when it has printed what to open and to paste.
func spawnDev(t *testing.T) (c *child, base, token string) {
	t.Helper()
	cmd := exec.Command(binary, "dev")
	cmd.Dir, cmd.Env = t.TempDir(), environ("PROXY_DRAIN_PERIOD=200ms")
	var m []string
	printed := make(chan bool, 1)
	c = spawn(t, cmd, func(line string) {
		if found := devLines.FindStringSubmatch(line); found != nil {
			m = found
		}
		if line == "Ctrl-C stops." {
			printed <- true
		}
	})
	await(t, printed)
	return c, "http://" + m[1], m[2]
}

func TestDevShowsTheProductWithNothingElseInstalled(t *testing.T) {
	process, base, token := spawnDev(t)
	_, second, _ := spawnDev(t)
	assert.NotEqual(t, base, second, "a taken port is not fatal: the next free one serves")

	page, err := http.Get(base + "/chat")
	require.NoError(t, err)
	page.Body.Close()
	assert.Equal(t, http.StatusOK, page.StatusCode)

	v := &proxytest.Visitor{Base: base, Token: token}
	events, err := v.Events(t.Context(), proxytest.EventsOptions{History: 10})
	require.NoError(t, err)
	defer events.Close()
	greeting, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, "assistant", greeting.Role)

	reply, err := v.Send(t.Context(), "Hello from a test", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, "Hello from a test", m.Content)
	m, err = events.Message()
	require.NoError(t, err)
	assert.Equal(t, "assistant", m.Role)
	assert.Equal(t, reply.Body["response"], m.Content)

	process.stop()
	for _, bad := range []string{"panic", "level=ERROR", "level=WARN"} {
		assert.False(t, strings.Contains(process.output(), bad), process.output())
	}
}
