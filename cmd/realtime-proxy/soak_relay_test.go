package main_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// line is the way between one node and Supabase: a relay that can refuse, cut and stall.
type line struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	refused bool
	flow    chan struct{} // closed while bytes may pass
	conns   map[net.Conn]struct{}
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &line{listener: l, target: target, flow: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(r.flow)
	r.work.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.partition()
		r.release()
		r.work.Wait()
	})
	return r
}

func (r *line) url() string { return "http://" + r.listener.Addr().String() }

func (r *line) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.work.Go(func() { r.carry(c) })
	}
}

func (r *line) carry(node net.Conn) {
	if !r.admit(node) {
		return
	}
	defer r.forget(node)
	supabase, err := net.DialTimeout("tcp", r.target, 10*time.Second)
	if err != nil {
		return
	}
	if !r.admit(supabase) {
		return
	}
	defer r.forget(supabase)
	var back sync.WaitGroup
	back.Go(func() { r.pass(supabase, node) })
	r.pass(node, supabase)
	back.Wait()
}

// pass carries bytes one way until either side ends; then both do.
func (r *line) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			r.wait()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait holds bytes back while the line is stalled.
func (r *line) wait() {
	r.mu.Lock()
	flow := r.flow
	r.mu.Unlock()
	<-flow
}

func (r *line) admit(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused {
		reset(c)
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *line) forget(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close()
}

// partition ends all connections and refuses new ones until mend.
func (r *line) partition() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = true
	for c := range r.conns {
		reset(c)
	}
}

func (r *line) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = false
}

// stall keeps all connections open and lets nothing through until release. New ones are accepted and stall too.
func (r *line) stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flow = make(chan struct{})
}

func (r *line) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.flow:
	default:
		close(r.flow)
	}
}
