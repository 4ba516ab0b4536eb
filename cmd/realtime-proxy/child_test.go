package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// asStandin makes the test binary play the stand-in, as a process of its own.
const asStandin = "REALTIME_PROXY_TEST_STANDIN"

var binary string // the built command

func TestMain(m *testing.M) {
	if os.Getenv(asStandin) != "" {
		if err := runStandin(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "realtime-proxy-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "realtime-proxy")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// upstream is what the stand-in's process says of itself.
type upstream struct {
	URL        string `json:"url"`
	ServiceKey string `json:"service_key"`
	AnonKey    string `json:"anon_key"`
}

// runStandin serves a seeded stand-in until it is told to stop.
func runStandin() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := standin.New(standin.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Seed(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	err = json.NewEncoder(os.Stdout).Encode(upstream{"http://" + l.Addr().String(), s.ServiceKey(), s.AnonKey()})
	if err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// child is a process of the test. Its standard error is kept.
type child struct {
	t   *testing.T
	cmd *exec.Cmd

	mu   sync.Mutex
	logs strings.Builder
}

// spawn starts a process whose lines go to each, until it ends; it is killed with the test at the latest.
func spawn(t *testing.T, cmd *exec.Cmd, each func(line string)) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	errs, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var read sync.WaitGroup
	for _, pipe := range []io.Reader{out, errs} {
		read.Go(func() {
			lines := bufio.NewScanner(pipe)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				c.mu.Lock()
				c.logs.WriteString(lines.Text() + "\n")
				c.mu.Unlock()
				each(lines.Text())
			}
		})
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when it has ended
		read.Wait()
		_ = cmd.Wait() // says that it was killed, or that it was waited for
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), c.output())
		}
	})
	return c
}

func (c *child) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logs.String()
}

// stop asks the process to end and checks that it does so with status 0.
func (c *child) stop() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
	state, err := c.cmd.Process.Wait()
	require.NoError(c.t, err)
	require.Equal(c.t, 0, state.ExitCode(), c.output())
}

// environ is the environment of a child: none of the tester's own Supabase settings.
func environ(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "SUPABASE_") && !strings.HasPrefix(name, "PROXY_") && name != "API_URL" {
			env = append(env, kv)
		}
	}
	return append(env, more...) // the last of a name counts
}

func spawnStandin(t *testing.T) upstream {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = environ(asStandin + "=1")
	said := make(chan upstream, 1)
	spawn(t, cmd, func(line string) {
		var u upstream
		if json.Unmarshal([]byte(line), &u) == nil && u.URL != "" {
			said <- u
		}
	})
	return await(t, said)
}

// served is what a proxy's process logs when it listens.
type served struct {
	Message string `json:"msg"`
	Listen  string `json:"listen"`
	Admin   string `json:"admin"`
}

// spawnProxy starts the built command with serve and returns when it is ready.
func spawnProxy(t *testing.T, u upstream, more ...string) (*child, served) {
	t.Helper()
	return spawnProxyAt(t, "127.0.0.1:0", u, more...)
}

func spawnProxyAt(t *testing.T, listen string, u upstream, more ...string) (*child, served) {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--listen="+listen, "--admin-listen=127.0.0.1:0", "--log-format=json")
	cmd.Dir = t.TempDir()
	cmd.Env = environ(append(more, "SUPABASE_URL="+u.URL, "SUPABASE_SERVICE_ROLE_KEY="+u.ServiceKey, "SUPABASE_ANON_KEY="+u.AnonKey,
		"PROXY_DRAIN_PERIOD=200ms", "PROXY_DRAIN_MAX=5s")...)
	listening, live := make(chan served, 1), make(chan served, 8)
	c := spawn(t, cmd, func(line string) {
		var s struct {
			served
			State string `json:"state"`
		}
		if json.Unmarshal([]byte(line), &s) != nil {
			return
		}
		if s.Message == "serving" {
			listening <- s.served
		}
		if s.Message == "feed state" && s.State == "live" {
			live <- s.served
		}
	})
	s := await(t, listening)
	await(t, live)
	return c, s
}

func await[T any](t *testing.T, values <-chan T) T {
	t.Helper()
	select {
	case v := <-values:
		return v
	case <-time.After(30 * time.Second):
		require.FailNow(t, "nothing came within 30 s")
		panic("unreachable")
	}
}
