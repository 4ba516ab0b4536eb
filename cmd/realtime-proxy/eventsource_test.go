package main_test

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

// The eventsource package of npm is the EventSource of Node: it gets each message once, with a cursor, also over a cut connection.
func TestEventSourceOfNodeResumesByItself(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		skipOrFail(t, "node is not installed")
	}
	if _, err := os.Stat(filepath.Join(scripts, "node_modules", "eventsource")); err != nil {
		skipOrFail(t, "npm --prefix testdata/e2e ci has not been run")
	}
	_, base, token := spawnDev(t)
	relay := newRelay(t, strings.TrimPrefix(base, "http://"))
	cmd := exec.Command(node, "eventsource.mjs", relay.url()+"/temporary-chat-events?session_token="+url.QueryEscape(token))
	cmd.Dir = scripts
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	type line struct {
		Type    string            `json:"type"`
		ID      string            `json:"id"`
		Message proxytest.Message `json:"message"`
	}
	lines := make(chan line, 100)
	process := spawn(t, cmd, func(text string) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil {
			lines <- l
		}
	})
	require.Equal(t, "connected", await(t, lines).Type)

	v := &proxytest.Visitor{Base: base, Token: token}
	say := func(text string) {
		reply, err := v.Send(t.Context(), text, "")
		require.NoError(t, err)
		require.Equal(t, 200, reply.Status, reply.Body)
	}
	hear := func(text string) {
		for _, role := range []string{"user", "assistant"} {
			l := await(t, lines)
			for l.Type == "connected" {
				l = await(t, lines)
			}
			assert.Equal(t, role, l.Message.Role)
			assert.NotEmpty(t, l.ID)
			if role == "user" {
				assert.Equal(t, text, l.Message.Content)
			}
		}
	}
	say("over the first connection")
	hear("over the first connection")
	relay.cut()
	say("while it is cut")
	relay.mend()
	hear("while it is cut")
	require.NoError(t, stdin.Close())
	state, err := process.cmd.Process.Wait()
	require.NoError(t, err)
	assert.Equal(t, 0, state.ExitCode(), process.output())
	assert.Empty(t, lines, "nothing twice")
}
