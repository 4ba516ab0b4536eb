package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the time from the start of the proxy to its feed being live.
	startTimeout = 30 * time.Second
	// stopTimeout bounds the drain of the proxy; then it is killed.
	stopTimeout = 15 * time.Second
	// keptLines of the proxy's complaints are told when something fails.
	keptLines = 20
)

// buildProxy builds the proxy into dir. The working directory has to lie in its module.
func buildProxy(ctx context.Context, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "realtime-proxy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/agentopia/realtime-proxy/cmd/realtime-proxy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the proxy: %w: %s", err, out)
	}
	return binary, nil
}

// child is the proxy as a process.
type child struct {
	visitors string // host:port
	admin    string // host:port
	cmd      *exec.Cmd
	ended    chan error // one value, when the process and its output have ended

	mu   sync.Mutex
	last []string // complaints of its log
}

// startProxy starts the proxy in dir, which has no configuration file, and returns when its feed is live.
func startProxy(ctx context.Context, binary, dir string, up *upstream, env []string) (*child, error) {
	c := &child{ended: make(chan error, 1)}
	c.cmd = exec.Command(binary, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json")
	c.cmd.Dir = dir
	c.cmd.Env = append(environ(), append([]string{
		"SUPABASE_URL=" + up.url, "SUPABASE_SERVICE_ROLE_KEY=" + up.standin.ServiceKey(), "SUPABASE_ANON_KEY=" + up.standin.AnonKey(),
		"PROXY_DRAIN_PERIOD=200ms", "PROXY_DRAIN_MAX=5s",
	}, env...)...)
	logs, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	live := make(chan struct{})
	go func() {
		c.read(logs, sync.OnceFunc(func() { close(live) }))
		c.ended <- c.cmd.Wait()
	}()
	wait := time.NewTimer(startTimeout)
	defer wait.Stop()
	select {
	case <-live:
		return c, nil
	case err := <-c.ended:
		return nil, fmt.Errorf("the proxy ended as it started: %w:\n%s", err, c.tail())
	case <-wait.C:
		err = errors.New("it is not live in time")
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = c.cmd.Process.Kill() // fails when it has ended
	<-c.ended
	return nil, fmt.Errorf("start the proxy: %w:\n%s", err, c.tail())
}

// environ is this process's environment without settings of the proxy.
func environ() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SUPABASE_") && !strings.HasPrefix(kv, "PROXY_") && !strings.HasPrefix(kv, "API_URL=") {
			env = append(env, kv)
		}
	}
	return env
}

// read takes the addresses from the log and calls live when the feed is.
func (c *child) read(logs io.Reader, live func()) {
	lines := bufio.NewScanner(logs)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line logLine
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Level != "INFO" {
			c.keep(lines.Text())
			continue
		}
		switch {
		case line.Message == "serving":
			c.visitors, c.admin = line.Listen, line.Admin
		case line.Message == "feed state" && line.State == "live":
			live()
		}
	}
}

// logLine is what is read of a line of the proxy's log.
type logLine struct {
	Level   string `json:"level"`
	Message string `json:"msg"`
	Listen  string `json:"listen"`
	Admin   string `json:"admin"`
	State   string `json:"state"`
}

func (c *child) keep(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last = append(c.last, line); len(c.last) > keptLines {
		c.last = c.last[1:]
	}
}

func (c *child) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.last, "\n")
}

// stop drains the proxy. It fails when the proxy does not end by itself and cleanly.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended, which Wait tells
	kill := time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	if err := <-c.ended; err != nil {
		return fmt.Errorf("the proxy did not stop cleanly: %w:\n%s", err, c.tail())
	}
	return nil
}
