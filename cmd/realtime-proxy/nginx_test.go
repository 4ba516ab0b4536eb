package main_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// nginxMain is what a distribution's nginx.conf has around the recipe, for an nginx that touches nothing outside a directory.
const nginxMain = `
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	RECIPE
}
`

// silent keeps a proxy's streams from sending signs of life while a test looks.
const silent = "PROXY_STREAM_KEEP_ALIVE=5m"

// Changes of the recipe, each with what it replaces.
var (
	asItIs       []string
	unbuffered   = []string{"proxy_read_timeout", "proxy_buffering off; proxy_read_timeout"}
	compressing  = []string{"proxy_read_timeout", "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0; proxy_read_timeout"}
	shortTimeout = []string{"180s", "2s"}
)

// startNginx runs the README's recipe, with these changes, before a proxy.
func startNginx(t *testing.T, proxy string, changes []string) *gateway {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		skipOrFail(t, "nginx is not installed")
	}
	g := &gateway{dir: t.TempDir()}
	g.roots = writeCertificate(t, g.dir)
	address := "127.0.0.1:" + freePort(t)
	g.base = "https://" + address
	server := recipe(t, "nginx", "proxy_pass", append([]string{
		"/var/log/nginx/", g.dir + "/", "/etc/ssl/private/chat-proxy.example.com.", g.dir + "/tls.",
		"listen 443 ", "listen " + address + " ", "server 127.0.0.1:8080;", "server " + proxy + ";",
	}, changes...)...)
	main := filepath.Join(g.dir, "nginx.conf")
	text := strings.NewReplacer("DIR", g.dir, "RECIPE", server).Replace(nginxMain)
	require.NoError(t, os.WriteFile(main, []byte(text), 0o600))
	ready := make(chan bool, 8)
	g.process = spawn(t, exec.Command(nginx, "-e", "stderr", "-p", g.dir, "-c", main), func(line string) {
		if strings.Contains(line, "event method") { // said when it listens
			ready <- true
		}
	})
	await(t, ready)
	return g
}

func TestNginxOfTheReadmeCarriesEveryTransportAtOnce(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, silent)
	for name, changes := range map[string][]string{"buffering on": asItIs, "buffering off": unbuffered, "compressing": compressing} {
		g := startNginx(t, at.Listen, changes)
		for protocol := range protocols {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				checkCarries(t, up, g, protocol)
				want := map[string]string{"compressing": "gzip"}[name]
				assert.Equal(t, want, streamEncoding(t, g, protocol))
			})
		}
	}
}

func TestHeartbeatsHoldStreamsThroughNginx(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, "PROXY_STREAM_KEEP_ALIVE=1s")
	g := startNginx(t, at.Listen, []string{"180s", "3s"}) // a sign of life may be a second late
	session := standin.NewFixture().Visitor
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			v := g.visitor(t, session, protocol, "127.0.0.1")
			events, err := v.Events(ctx, proxytest.EventsOptions{})
			require.NoError(t, err)
			defer events.Close()
			socket, err := v.Socket(ctx, "", 0)
			require.NoError(t, err)
			defer socket.Close()
			for range 6 { // two timeouts long
				_, err = socket.Until(ctx, "heartbeat")
				require.NoError(t, err)
			}
			id := up.say(t, session, "after a long silence")
			m, err := socket.ChatMessage(ctx)
			require.NoError(t, err)
			assert.Equal(t, id, m.ID)
			m, err = events.Message()
			require.NoError(t, err)
			assert.Equal(t, id, m.ID)
		})
	}
}

func TestStreamsThatNginxCutsResume(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, silent)
	g := startNginx(t, at.Listen, shortTimeout)
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			checkResumesAfterCut(t, up, g, protocol, func() {}, func() *gateway { return g })
		})
	}
}

func TestNginxOfTheReadmePassesOnWhatPagesNeed(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, pageAllowed)
	g := startNginx(t, at.Listen, asItIs)
	t.Run("Realtime", func(t *testing.T) { checkRealtime(t, up, g) })
	for protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { checkAnswersPages(t, g, protocol) })
	}
}

func TestNginxTellsTheAddressAndTheHost(t *testing.T) {
	up := spawnStandin(t)
	_, at := spawnProxy(t, up, trusting(t), "PROXY_CHAT_PAGE=true", "PROXY_LIMITS_CONNECTIONS_PER_ADDRESS=2")
	g := startNginx(t, at.Listen, asItIs)
	checkOrigins(t, g)
	checkAddresses(t, g, "http://"+at.Listen)
}

func TestNginxOfTheReadmeLogsNoToken(t *testing.T) {
	up := spawnStandin(t)
	t.Run("when the proxy is away", func(t *testing.T) {
		process, at := spawnProxy(t, up)
		g := startNginx(t, at.Listen, asItIs)
		checkKeepsTokensOut(t, g, process, func() string { return nginxLogs(t, g) })
	})
	t.Run("when it has too few connections", func(t *testing.T) {
		_, at := spawnProxy(t, up, "PROXY_LIMITS_CONNECTIONS_PER_SESSION=100", "PROXY_LIMITS_CONNECTIONS_PER_ADDRESS=100")
		g := startNginx(t, at.Listen, asItIs)
		v := g.visitor(t, standin.NewFixture().Visitor, "HTTP-2", "127.0.0.1")
		overload(t, v)
		written := func() bool { return strings.Contains(nginxLogs(t, g), `/temporary-chat-events" 500`) }
		require.Eventually(t, written, 10*time.Second, 10*time.Millisecond)
		assert.NotContains(t, nginxLogs(t, g), v.Token)
		assert.NotContains(t, nginxLogs(t, g), "session_token")
	})
}

// nginxLogs is all that nginx wrote anywhere.
func nginxLogs(t *testing.T, g *gateway) string {
	files, err := filepath.Glob(filepath.Join(g.dir, "*.log"))
	require.NoError(t, err)
	all := g.process.output()
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all += string(text)
	}
	return all
}

// overload opens event streams until nginx has no connection left for one, which it logs as an alert.
func overload(t *testing.T, v *proxytest.Visitor) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 64 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Base+"/temporary-chat-events?session_token="+v.Token, nil)
		require.NoError(t, err)
		resp, err := v.Client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusInternalServerError {
			return
		}
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	require.FailNow(t, "nginx had a connection for every stream")
}
