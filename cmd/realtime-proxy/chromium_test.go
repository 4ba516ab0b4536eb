package main_test

import (
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser is Chromium, played by browser.mjs.
type browser struct {
	t       *testing.T
	steps   io.WriteCloser
	answers chan answer
	files   string // directory of the pictures
}

type answer struct {
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

type step struct {
	Do     string            `json:"do"`
	Tab    string            `json:"tab,omitempty"`
	URL    string            `json:"url,omitempty"`
	Text   string            `json:"text,omitempty"`
	Paths  map[string]string `json:"paths,omitempty"`  // by colour scheme
	Unlike json.RawMessage   `json:"unlike,omitempty"` // what the tab showed before
}

// browserTools finds node and chromium; the test is skipped, or fails where everything is required, when something is missing.
func browserTools(t *testing.T) (node, chromium string) {
	t.Helper()
	need := func(what string, err error) {
		switch {
		case err == nil:
		case os.Getenv("REQUIRE_ALL") == "1":
			require.FailNow(t, what+" is required to test the chat page")
		default:
			t.Skip(what + " is missing, the chat page is not tested in a browser")
		}
	}
	node, err := exec.LookPath("node")
	need("node (version 20 or later)", err)
	chromium, err = exec.LookPath("chromium")
	need("chromium", err)
	_, err = os.Stat(filepath.Join(scripts, "node_modules", "playwright-core"))
	need("playwright-core (npm ci in testdata/e2e)", err)
	return node, chromium
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	node, chromium := browserTools(t)
	b := &browser{t: t, answers: make(chan answer, 8), files: os.Getenv("CI_ARTIFACTS")}
	if b.files == "" {
		b.files = t.TempDir()
	}
	var err error
	b.files, err = filepath.Abs(b.files)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(b.files, 0o755))
	cmd := exec.Command(node, "browser.mjs", chromium)
	cmd.Dir, cmd.Env = scripts, environ()
	b.steps, err = cmd.StdinPipe()
	require.NoError(t, err)
	spawn(t, cmd, b.hear)
	t.Cleanup(func() {
		_ = b.steps.Close() // fails when browser.mjs has died; otherwise the browser closes and leaves no profile behind
		await(t, b.answers)
	})
	return b
}

func (b *browser) hear(line string) {
	var a answer
	if json.Unmarshal([]byte(line), &a) != nil {
		return
	}
	select {
	case b.answers <- a:
	default: // more answers than questions: the next await tells
	}
}

// do plays one step and decodes what it gives into out, if that is wanted.
func (b *browser) do(s step, out any) {
	b.t.Helper()
	line, err := json.Marshal(s)
	require.NoError(b.t, err)
	_, err = b.steps.Write(append(line, '\n'))
	require.NoError(b.t, err)
	a := await(b.t, b.answers)
	require.Empty(b.t, a.Error, "%s in %s", s.Do, s.Tab)
	if out != nil {
		require.NoError(b.t, json.Unmarshal(a.Value, out))
	}
}

func (b *browser) say(tab, text string) {
	b.t.Helper()
	b.do(step{Do: "say", Tab: tab, Text: text}, nil)
}

// complaints are the errors and warnings of the consoles since the last call.
func (b *browser) complaints() (lines []string) {
	b.t.Helper()
	b.do(step{Do: "complained"}, &lines)
	return lines
}

// until looks at a tab until it shows what is wanted.
func (b *browser) until(tab, what string, ok func(view) bool) view {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	var seen json.RawMessage
	for {
		v := view{}
		b.do(step{Do: "look", Tab: tab, Unlike: seen}, &seen)
		require.NoError(b.t, json.Unmarshal(seen, &v))
		if ok(v) {
			return v
		}
		require.True(b.t, time.Now().Before(deadline), "%s: not within 30 s: %s; it shows %s", tab, what, seen)
	}
}

// picture keeps what a tab shows, in both colour schemes.
func (b *browser) picture(tab, name string) {
	b.t.Helper()
	paths := map[string]string{}
	for _, scheme := range []string{"dark", "light"} {
		paths[scheme] = filepath.Join(b.files, fmt.Sprintf("chat-%s-%s-%s.png", name, tab, scheme))
	}
	b.do(step{Do: "picture", Tab: tab, Paths: paths}, nil)
	for _, path := range paths {
		f, err := os.Open(path)
		require.NoError(b.t, err)
		config, err := png.DecodeConfig(f)
		f.Close()
		require.NoError(b.t, err)
		assert.Equal(b.t, windowSizes[tab], [2]int{config.Width, config.Height}, path)
	}
}
