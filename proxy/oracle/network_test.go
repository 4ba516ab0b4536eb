package oracle_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// network joins hosts by name. A host can be taken down, which resets its connections, and cut off from another one.
type network struct {
	mu      sync.Mutex
	rand    *rand.Rand
	latency time.Duration // the greatest, one way
	hosts   map[string]*host
	ports   uint16
}

type host struct {
	listener *listener
	down     bool
	ends     map[*conn]string // of open connections, by the name of the other host
	// frozen says until when nothing arrives from the other host.
	frozen map[string]time.Time
	// blocked says until when dialling the other host is refused.
	blocked map[string]time.Time
}

func newNetwork(seed uint64, latency time.Duration) *network {
	return &network{rand: rand.New(rand.NewPCG(seed, 7)), latency: latency, hosts: make(map[string]*host), ports: 1024}
}

func (n *network) hostLocked(name string) *host {
	h := n.hosts[name]
	if h == nil {
		h = &host{ends: make(map[*conn]string), frozen: make(map[string]time.Time), blocked: make(map[string]time.Time)}
		n.hosts[name] = h
	}
	return h
}

// listen brings a host up with a new listener.
func (n *network) listen(name string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hostLocked(name)
	h.listener = &listener{name: name, conns: make(chan net.Conn, 256), done: make(chan struct{})}
	h.down = false
	return h.listener
}

// dial opens connections from one host to others.
func (n *network) dial(from string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		name, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		near, far, l, ok := n.connect(from, name)
		if !ok {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		select {
		case l.conns <- far:
			if l.isClosed() {
				near.cut() // nobody will accept it
			}
			return near, nil
		case <-l.done:
			err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		case <-ctx.Done():
			err = ctx.Err()
		}
		near.cut()
		return nil, err
	}
}

// buffered is how many bytes a direction holds: little, so that a visitor who does not read is noticed.
const buffered = 8 << 10

func (n *network) connect(from, to string) (near, far *conn, l *listener, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	here, there := n.hostLocked(from), n.hostLocked(to)
	if here.down || there.down || there.listener == nil || here.blocked[to].After(time.Now()) {
		return nil, nil, nil, false
	}
	latency := time.Duration(0)
	if n.latency > 0 {
		latency = time.Duration(n.rand.Int64N(int64(n.latency)))
	}
	n.ports++
	a := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), n.ports))
	b := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 2}), 80))
	out, in := newFlow(latency, buffered), newFlow(latency, buffered)
	near, far = &conn{in: in, out: out, local: a, remote: b}, &conn{in: out, out: in, local: b, remote: a}
	near.gone, far.gone = n.forget(here, near), n.forget(there, far)
	here.ends[near], there.ends[far] = to, from
	if until := here.frozen[to]; until.After(time.Now()) {
		near.pause(time.Until(until))
		far.pause(time.Until(until))
	}
	return near, far, there.listener, true
}

func (n *network) forget(h *host, c *conn) func() {
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(h.ends, c)
	}
}

// between lists the ends at a that lead to b; an empty b means everywhere.
func (n *network) between(a, b string) (ends []*conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, other := range n.hostLocked(a).ends {
		if b == "" || other == b {
			ends = append(ends, c)
		}
	}
	return ends
}

// cut resets the connections of a to b.
func (n *network) cut(a, b string) {
	for _, c := range n.between(a, b) {
		c.cut()
	}
}

// takeDown resets all connections of a host and refuses new ones, in both directions, until it listens again.
func (n *network) takeDown(name string) {
	n.mu.Lock()
	n.hostLocked(name).down = true
	n.mu.Unlock()
	n.cut(name, "")
}

// partition resets the connections of a to b and refuses new ones for a while.
func (n *network) partition(a, b string, d time.Duration) {
	n.mu.Lock()
	n.hostLocked(a).blocked[b] = time.Now().Add(d)
	n.mu.Unlock()
	n.cut(a, b)
}

// heal undoes partition and freeze for hosts that come up again.
func (n *network) heal() {
	n.mu.Lock()
	var ends []*conn
	for _, h := range n.hosts {
		clear(h.blocked)
		clear(h.frozen)
		for c := range h.ends {
			ends = append(ends, c)
		}
	}
	n.mu.Unlock()
	for _, c := range ends {
		c.pause(0)
	}
}

// freeze lets nothing pass between two hosts for a while, without a word to either.
func (n *network) freeze(a, b string, d time.Duration) {
	n.mu.Lock()
	n.hostLocked(a).frozen[b] = time.Now().Add(d)
	n.hostLocked(b).frozen[a] = time.Now().Add(d)
	n.mu.Unlock()
	for _, c := range n.between(a, b) {
		c.pause(d)
	}
	for _, c := range n.between(b, a) {
		c.pause(d)
	}
}

// listener accepts connections of the network.
type listener struct {
	name  string
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.name) }

type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) + ":80" }
