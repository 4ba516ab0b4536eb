package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outcome is what a scenario of testdata/scenario.mjs prints; each fills in what it knows.
type outcome struct {
	Messages []shown        `json:"messages"`
	Between  []shown        `json:"between"`
	State    string         `json:"state"`
	Closed   string         `json:"closed"`
	Cursor   string         `json:"cursor"`
	Session  map[string]any `json:"session"`
	Answer   map[string]any `json:"answer"`
	Seen     []string       `json:"seen"`
	Kept     []string       `json:"kept"`
	Left     int            `json:"left"`
	Codes    []string       `json:"codes"`
	Failures []*struct {
		Code       string  `json:"code"`
		Status     int     `json:"status"`
		RetryAfter float64 `json:"retryAfter"`
		Message    string  `json:"message"`
	} `json:"failures"`
}

// shown is a message as the client lists it.
type shown struct {
	ID      string `json:"id"`
	Role    string `json:"role"`
	Content string `json:"content"`
	Pending bool   `json:"pending"`
	Failed  bool   `json:"failed"`
	Error   string `json:"error"`
}

func (o outcome) ids() []string {
	ids := []string{}
	for _, m := range o.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// node returns the command and the flags that give this version of Node a WebSocket.
func node(t *testing.T) []string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("node is required to test the browser client: install nodejs 20 or later")
		}
		t.Skip("node is not installed, the browser client is not tested")
	}
	version, err := exec.Command(path, "--version").Output()
	require.NoError(t, err)
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 22 {
		return []string{path, "--no-warnings", "--experimental-websocket"}
	}
	return []string{path, "--no-warnings"}
}

// run plays a scenario against the stage and decodes what it printed into out.
func run(t *testing.T, s *stage, scenario string, options map[string]any, out any) {
	t.Helper()
	command := node(t)
	// Beside the repository's go.mod there is no package.json: a copy gets one, so that Node takes .js for ES modules.
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata")))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "assets"), os.DirFS("assets")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	input, err := json.Marshal(options)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append(command[1:], filepath.Join(dir, "scenario.mjs"), scenario, s.URL, string(input))
	cmd := exec.CommandContext(ctx, command[0], args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	require.NoError(t, err, "%s\nrequests: %v", stderr.String(), s.requests())
	require.NoError(t, json.Unmarshal(stdout, out), "%s", stdout)
}
