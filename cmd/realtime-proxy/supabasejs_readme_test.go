package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

var scriptBlock = regexp.MustCompile("(?s)```js\n(.*?)```")

// What a page has around a script of the README, and how the script tells. EventSource is the package of npm.
const readmePage = `
import { EventSource as Source } from 'eventsource';
const [base, sessionToken, API_BASE_URL] = [process.argv[1], process.argv[2], process.argv[1]];
const tell = (line) => console.log(JSON.stringify(line));
class EventSource extends Source {
  constructor(...parameters) {
    super(...parameters);
    this.addEventListener('connected', () => tell({ ready: true }));
  }
}
const addMessage = ({ role, content }) => tell({ role, content });
const removeMessage = (id) => tell({ removed: id });
const showStatus = (status) => tell({ status });
const render = (messages) => messages.forEach(addMessage);
process.stdin.on('end', () => process.exit()).resume();
`

// Each script of the README shows a visitor what is said, unchanged but for the address of the proxy.
func TestScriptsOfTheReadmeShowTheConversation(t *testing.T) {
	node := node22(t)
	for _, pkg := range []string{"eventsource", currentJS} {
		if _, err := os.Stat(filepath.Join(scripts, "node_modules", pkg)); err != nil {
			skipOrFail(t, "npm --prefix testdata/e2e ci has not been run")
		}
	}
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := scriptBlock.FindAllStringSubmatch(string(text), -1)
	for part, section := range map[string]string{
		"new EventSource(": "## Point Agentopia at it", "/client.js": "## Point Agentopia at it",
		"@supabase/supabase-js": "## Use it from supabase-js",
	} {
		_, behind, found := strings.Cut(string(text), section+"\n")
		require.True(t, found, section)
		behind, _, _ = strings.Cut(behind, "\n## ")
		assert.Contains(t, behind, part)
	}
	for _, block := range blocks {
		script := strings.TrimSpace(block[1])
		name, _, _ := strings.Cut(script, "\n")
		t.Run(name, func(t *testing.T) {
			_, base, token := spawnDev(t)
			runReadmeScript(t, node, script, base, token)
		})
	}
}

func runReadmeScript(t *testing.T, node, script, base, token string) {
	t.Helper()
	script = strings.ReplaceAll(script, "'@supabase/supabase-js'", "'"+currentJS+"'")
	script = strings.ReplaceAll(script, "'https://chat-proxy.example.com/client.js'", "'"+download(t, base+"/client.js")+"'")
	script = strings.ReplaceAll(script, "https://chat-proxy.example.com", base)
	cmd := exec.Command(node, "--input-type=module", "--eval", readmePage+script, base, token)
	cmd.Dir, cmd.Env = scripts, environ()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	type line struct {
		Ready   bool   `json:"ready"`
		Status  string `json:"status"`
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	lines := make(chan line, 100)
	spawn(t, cmd, func(text string) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil {
			lines <- l
		}
	})
	said, heard := strings.Contains(script, "'Hello'"), map[string]bool{}
	for !heard["user: Hello"] {
		l := await(t, lines)
		if l.Ready && !said {
			said = true
			v := &proxytest.Visitor{Base: base, Token: token}
			reply, err := v.Send(t.Context(), "Hello", "")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, reply.Status, reply.Body)
		}
		if l.Status != "" {
			assert.Equal(t, "SUBSCRIBED", l.Status)
		}
		heard[l.Role+": "+l.Content] = true
	}
	for l := await(t, lines); l.Role != "assistant" || heard["assistant: "+l.Content]; {
		l = await(t, lines) // until the agent has answered
	}
}

// download keeps what the proxy serves in a module file and gives its address.
func download(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "client.mjs")
	require.NoError(t, os.WriteFile(path, body, 0o600))
	return "file://" + filepath.ToSlash(path)
}
