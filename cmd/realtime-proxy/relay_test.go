package main_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// relay carries connections to a port until it is cut; then it ends them, and refuses more until it is mended.
type relay struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	broken  bool
	refused int
	conns   map[net.Conn]struct{}
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	r.work.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.cut()
		r.work.Wait()
	})
	return r
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() { r.carry(c) })
	}
}

func (r *relay) carry(visitor net.Conn) {
	defer r.release(visitor)
	if !r.admit(visitor) {
		reset(visitor)
		return
	}
	server, err := net.DialTimeout("tcp", r.target, 10*time.Second)
	if err != nil {
		return
	}
	defer r.release(server)
	if !r.admit(server) {
		return
	}
	r.work.Go(func() {
		_, _ = io.Copy(server, visitor) // ends when either closes
		server.Close()
		visitor.Close()
	})
	_, _ = io.Copy(visitor, server)
}

func (r *relay) admit(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		r.refused++
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) release(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = true
	for c := range r.conns {
		reset(c)
	}
}

// reset closes a connection without the handshake of an orderly end.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0) // fails when it is closed already
	c.Close()
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = false
}

func (r *relay) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
