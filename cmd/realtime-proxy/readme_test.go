package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readmeBlocks returns the shell blocks of the README.
func readmeBlocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var blocks []string
	for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// Each shell block of the README is run by a test, or by .ci/run, or is named here with the reason why it is not.
func TestEveryCommandOfTheReadmeIsAccountedFor(t *testing.T) {
	known := map[string]string{
		"go run ./cmd/realtime-proxy dev":  "TestDevShowsTheProductWithNothingElseInstalled",
		`eval "$(supabase status -o env)"`: "TestServeTakesWhatSupabaseStatusPrints",
		"export SUPABASE_URL=":             "TestServeCarriesAVisitorFromTheFirstMessageToTheEnd, with these variables",
		"docker build":                     "needs a container engine",
		"VITE_SUPABASE_URL=":               "a setting of the page",
		"go test ./... -timeout":           ".ci/run",
		"npm --prefix testdata/e2e ci":     ".ci/run",
		"go run ./cmd/realtime-bench":      "TestAttackedProxyKeepsItsPromises, a small version",
		"go test ./... -run '^TestLive$'":  "TestLiveSuiteOnRealParts, and the workflow with supabase start",
	}
	used := make(map[string]bool)
	for _, block := range readmeBlocks(t) {
		accounted := false
		for part := range known {
			if strings.Contains(block, part) {
				accounted, used[part] = true, true
			}
		}
		assert.True(t, accounted, "nobody runs this block of the README:\n%s", block)
	}
	assert.Len(t, used, len(known), "no longer in the README: take it off the list")
}

func TestServeTakesWhatSupabaseStatusPrints(t *testing.T) {
	up := spawnStandin(t)
	dir := t.TempDir()
	status := fmt.Sprintf("#!/bin/sh\ncat <<'END'\nAPI_URL=\"%s\"\nSERVICE_ROLE_KEY=\"%s\"\nANON_KEY=\"%s\"\nDB_URL=\"postgresql://x\"\nEND\n",
		up.URL, up.ServiceKey, up.AnonKey)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "supabase"), []byte(status), 0o700))
	var script string
	for _, block := range readmeBlocks(t) {
		if strings.Contains(block, "supabase status -o env") {
			script = strings.ReplaceAll(block, "go run ./cmd/realtime-proxy", "exec "+binary)
		}
	}
	require.NotEmpty(t, script)
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = environ("PATH="+dir+":"+os.Getenv("PATH"), "PROXY_LISTEN=127.0.0.1:0", "PROXY_ADMIN_LISTEN=127.0.0.1:0")
	live := make(chan bool, 1)
	process := spawn(t, cmd, func(line string) {
		if strings.Contains(line, `"state":"live"`) {
			live <- true
		}
	})
	await(t, live)
	process.stop()
}

// The lines that dev prints for pasting do what they say.
func TestTheLinesThatDevPrintsWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		skipOrFail(t, "curl is not installed")
	}
	process, _, token := spawnDev(t)
	var lines []string
	for line := range strings.Lines(process.output()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 3)
	run := func(seconds int, line string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		line = strings.Replace(line, "curl ", fmt.Sprintf("curl -sS --max-time %d ", seconds), 1)
		out, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput()
		if code := cmdExitCode(err); code != 28 { // the stream does not end by itself
			require.NoError(t, err, string(out))
		}
		return strings.ReplaceAll(string(out), token, "TOKEN")
	}
	assert.Contains(t, run(2, lines[0]), "event: connected")
	assert.Contains(t, run(20, lines[1]), `"success":true`)
	assert.Contains(t, run(20, lines[2]), "Hello from curl")
}

func cmdExitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return 0
}

// skipOrFail skips what cannot run on this machine, unless everything is required to.
func skipOrFail(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		require.FailNow(t, reason)
	}
	t.Skip(reason)
}
