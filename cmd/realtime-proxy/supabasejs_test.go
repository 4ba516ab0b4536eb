package main_test

import (
	"testing"

	"github.com/gorilla/websocket"
)

// The clients of npm, unmodified, against recordings of a real server, the stand-in and the proxy.
func TestSupabaseJS(t *testing.T) {
	clients, origin := supabaseClients(t)
	fromPages := "PROXY_CORS_ALLOWED_ORIGINS=" + origin
	t.Run("callbacks are given what a real server makes of them", func(t *testing.T) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) { checkCallbacks(t, c) })
		}
	})
	scenarios := []string{"wrong", "ended", "thousand", "changes", "remove", "setAuth", "callback", "two"}
	t.Run("the stand-in", func(t *testing.T) {
		up := newJSUpstream(t)
		playAll(t, clients, &jsTarget{name: "the stand-in", up: up, url: up.URL}, scenarios...)
		playAll(t, clients, restartingStandin(t), "restart")
	})
	t.Run("the proxy", func(t *testing.T) {
		proxied := &jsTarget{name: "the proxy", up: newJSUpstream(t), proxied: true}
		_, at := spawnProxy(t, proxied.up.upstream, fromPages)
		proxied.url = "http://" + at.Listen
		playAll(t, clients, proxied, append([]string{"over", "cut", "heartbeats"}, scenarios...)...)
		playAll(t, clients, restartingProxy(t, fromPages), "restart")
		t.Run("tells the same as the stand-in", func(t *testing.T) {
			compareCallbacks(t, clients, &jsTarget{name: "the stand-in", up: proxied.up, url: proxied.up.URL}, proxied)
		})
	})
}

// restartingStandin restarts Realtime when all clients want it.
func restartingStandin(t *testing.T) *jsTarget {
	t.Helper()
	up := newJSUpstream(t)
	restart := func() { up.standin.Faults().CloseSockets(websocket.CloseServiceRestart) }
	return &jsTarget{name: "a restarting stand-in", up: up, url: up.URL, restart: restart, restarts: newGathering()}
}

// restartingProxy restarts the proxy at its address when all clients want it.
func restartingProxy(t *testing.T, setting string) *jsTarget {
	t.Helper()
	up := newJSUpstream(t)
	process, at := spawnProxy(t, up.upstream, setting)
	restart := func() {
		process.stop()
		spawnProxyAt(t, at.Listen, up.upstream, setting)
	}
	return &jsTarget{name: "a restarting proxy", up: up, url: "http://" + at.Listen, proxied: true,
		restart: restart, restarts: newGathering()}
}
