package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gorilla/websocket"
)

const dialTimeout = 10 * time.Second

// source is a local address from which visitors come. All of 127.0.0.0/8 is this machine.
type source struct {
	dialer net.Dialer
	client *http.Client // keeps connections
	socket websocket.Dialer
	wires  chan *wire // idle, of ask
}

// newSource is address n of those that begin with 127.second. It keeps so many idle wires.
func newSource(second byte, n, wires int) *source {
	addr := netip.AddrFrom4([4]byte{127, second, byte(n / 250), byte(n%250 + 1)})
	s := &source{wires: make(chan *wire, wires), dialer: net.Dialer{Timeout: dialTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))}}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.dialer.DialContext(ctx, network, address)
	}
	s.client = &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4}, Timeout: 30 * time.Second}
	s.socket = websocket.Dialer{NetDialContext: dial, HandshakeTimeout: dialTimeout, ReadBufferSize: 1024, WriteBufferSize: 1024}
	return s
}

func newSources(second byte, n int) []*source {
	wires := maxWires
	if n*wires > maxAllWires {
		wires = 0
	}
	sources := make([]*source, n)
	for i := range sources {
		sources[i] = newSource(second, i, wires)
	}
	return sources
}

func closeIdle(sources []*source) {
	for _, s := range sources {
		s.client.CloseIdleConnections()
		s.closeWires()
	}
}

// closeWires closes the idle ones.
func (s *source) closeWires() {
	for {
		select {
		case w := <-s.wires:
			w.conn.Close()
		default:
			return
		}
	}
}
