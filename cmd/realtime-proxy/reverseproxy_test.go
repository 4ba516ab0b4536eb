package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// gateway is a reverse proxy with TLS before a proxy of the project, set up as the README says.
type gateway struct {
	process *child
	dir     string // of its configuration and logs
	base    string
	roots   *x509.CertPool
}

// recipe is the README's block of a language that holds mark, with each old text replaced by the new one behind it.
func recipe(t *testing.T, language, mark string, changes ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var found []string
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], mark) {
			found = append(found, block[1])
		}
	}
	require.Len(t, found, 1, "blocks of %s in the README with %s", language, mark)
	out := found[0]
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, out, changes[i], "the README's recipe has changed")
		out = strings.ReplaceAll(out, changes[i], changes[i+1])
	}
	return out
}

// trusting makes a proxy believe a gateway, as the README says.
func trusting(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(recipe(t, "yaml", "trusted_proxies")), 0o600))
	return "PROXY_CONFIG=" + file
}

// freePort is a port that nothing listens on. It is below those that systems give to outgoing connections.
func freePort(t *testing.T) string {
	t.Helper()
	for port := 15000 + os.Getpid()%10000; port < 32000; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			require.NoError(t, l.Close())
			return fmt.Sprint(port)
		}
	}
	require.FailNow(t, "no free port")
	return ""
}

// writeCertificate writes tls.pem and tls.key for 127.0.0.1 and returns what trusts them.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"tls.pem": {Type: "CERTIFICATE", Bytes: certificate}, "tls.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	parsed, err := x509.ParseCertificate(certificate)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return roots
}

// protocols are those that visitors speak to a gateway.
var protocols = map[string]func(*http.Protocols){
	"HTTP-1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
	"HTTP-2":   func(p *http.Protocols) { p.SetHTTP2(true) },
}

// visitor is one at a loopback address of its own, who speaks only this protocol. WebSockets are HTTP/1.1 all the same.
func (g *gateway) visitor(t *testing.T, session standin.FixtureSession, protocol, from string) *proxytest.Visitor {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	trust := &tls.Config{RootCAs: g.roots}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: trust.Clone(), Protocols: new(http.Protocols)}
	protocols[protocol](transport.Protocols)
	t.Cleanup(transport.CloseIdleConnections)
	return &proxytest.Visitor{
		Base: g.base, Token: session.Token, Client: &http.Client{Transport: transport}, Dialer: dialer.DialContext, TLS: trust,
	}
}

// checkCarries expects each transport to bring what is said at once. The proxy is silent meanwhile, so that nothing else pushes a
// row out of a buffer.
func checkCarries(t *testing.T, up upstream, g *gateway, protocol string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	session := standin.NewFixture().Visitor
	v := g.visitor(t, session, protocol, "127.0.0.1")
	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer events.Close()
	_, err = events.Until("connected")
	require.NoError(t, err)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform",
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		assert.Equal(t, want, events.Header.Get(name), name)
	}
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	defer socket.Close()
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)
	now, err := v.Poll(ctx, "", 0, 0)
	require.NoError(t, err)

	for range 2 {
		id := up.say(t, session, "through a gateway")
		m, err := events.Message()
		require.NoError(t, err)
		assert.Equal(t, id, m.ID)
		m, err = socket.ChatMessage(ctx)
		require.NoError(t, err)
		assert.Equal(t, id, m.ID)
		now, err = v.Poll(ctx, now.Cursor, 0, 10)
		require.NoError(t, err)
		require.Len(t, now.Messages, 1)
		assert.Equal(t, id, now.Messages[0].ID)
	}
	reply, err := v.Send(ctx, "sent through a gateway", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, reply.Body["message_id"], m.ID)
	_, err = events.Message() // the answer, which a later stream must not meet
	require.NoError(t, err)
}

// checkOrigins expects the proxy's own page to be known by the gateway's address, and others to be refused.
func checkOrigins(t *testing.T, g *gateway) {
	v := g.visitor(t, standin.NewFixture().Visitor, "HTTP-2", "127.0.0.1")
	for origin, want := range map[string]int{
		g.base: http.StatusOK, "http" + strings.TrimPrefix(g.base, "https"): http.StatusForbidden,
		"https://elsewhere.example": http.StatusForbidden,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.Base+"/temporary-chat-messages", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+v.Token)
		req.Header.Set("Origin", origin)
		resp, err := v.Client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, origin)
	}
}

// checkAddresses expects the gateway to tell the proxy (trusting it, 2 connections an address) who calls, whatever callers claim.
func checkAddresses(t *testing.T, g *gateway, direct string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fixture := standin.NewFixture()
	for range 2 {
		socket, err := g.visitor(t, fixture.Visitor, "HTTP-1.1", "127.0.0.2").Socket(ctx, "", 0)
		require.NoError(t, err)
		defer socket.Close()
		_, err = socket.Until(ctx, "authenticated")
		require.NoError(t, err)
	}
	poll := func(base, from, claimed string) int {
		v := g.visitor(t, fixture.Shared, "HTTP-1.1", from)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/temporary-chat-messages", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+v.Token)
		if claimed != "" {
			req.Header.Set("X-Forwarded-For", claimed)
			req.Header.Set("CF-Connecting-IP", claimed)
		}
		resp, err := v.Client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	assert.Equal(t, http.StatusTooManyRequests, poll(g.base, "127.0.0.2", ""), "its two places are taken")
	assert.Equal(t, http.StatusOK, poll(g.base, "127.0.0.3", ""), "another address has its own")
	assert.Equal(t, http.StatusTooManyRequests, poll(g.base, "127.0.0.2", "127.0.0.3"), "a claim through the gateway")
	assert.Equal(t, http.StatusOK, poll(g.base, "127.0.0.3", "127.0.0.2"), "a claim through the gateway")
	assert.Equal(t, http.StatusTooManyRequests, poll(direct, "127.0.0.2", "127.0.0.3"), "a claim past the gateway")
	assert.Equal(t, http.StatusOK, poll(direct, "127.0.0.3", "127.0.0.2"), "a claim past the gateway")
}

// checkKeepsTokensOut makes the gateway log what it does and what fails, and expects no token there. It stops the proxy.
func checkKeepsTokensOut(t *testing.T, g *gateway, process *child, logs func() string) {
	v := g.visitor(t, standin.NewFixture().Visitor, "HTTP-2", "127.0.0.1")
	ask := func() int {
		resp, err := v.Client.Get(v.Base + "/temporary-chat-messages?session_token=" + v.Token)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, ask())
	process.stop()
	require.Equal(t, http.StatusBadGateway, ask())
	require.Eventually(t, func() bool { return strings.Contains(logs(), "/temporary-chat-messages") }, 10*time.Second, 10*time.Millisecond)
	assert.NotContains(t, logs(), v.Token)
	assert.NotContains(t, logs(), "session_token")
}
