package transport_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// BenchmarkIdleStream reports the memory of an idle stream: heap and stacks of both ends of 1,000 loopback connections, of which the
// visitor's end has neither a goroutine nor a buffer.
func BenchmarkIdleStream(b *testing.B) {
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, bb := range []struct{ name, path, header, until string }{
		{"sse", eventsPath, "", `"state":"live"}`},
		{"websocket", socketPath + "?session_token=" + rigToken, upgrade, `"cursor":"`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			const streams = 1000
			g := newRig(b, func(o *transport.Options) {
				o.ConnectionsPerAddress, o.ConnectionsPerSession, o.Logger = streams, streams, nil
			})
			u, err := url.Parse(g.serve())
			require.NoError(b, err)
			for b.Loop() {
				before := inUse()
				conns := make([]net.Conn, streams)
				for i := range conns {
					conns[i] = idleStream(b, u.Host, bb.path, bb.header, bb.until)
				}
				b.ReportMetric(float64(inUse()-before)/streams, "B/stream")
				for _, conn := range conns {
					require.NoError(b, conn.Close())
				}
				g.tracked.Wait()
			}
		})
	}
}

// inUse is the heap and the stacks after everything that can be freed was.
func inUse() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func idleStream(b *testing.B, host, path, header, until string) net.Conn {
	conn, err := net.Dial("tcp", host)
	require.NoError(b, err)
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: proxy.test\r\n"+header+"\r\n")
	require.NoError(b, err)
	var buf [2048]byte
	n := 0
	for !bytes.Contains(buf[:n], []byte(until)) {
		m, err := conn.Read(buf[n:])
		require.NoError(b, err)
		n += m
	}
	return conn
}

// BenchmarkFanOut writes bursts of a hundred events to all streams of a conversation and waits until all were read.
func BenchmarkFanOut(b *testing.B) {
	const burst = 100
	for _, streams := range []int{1, 100} {
		b.Run(strconv.Itoa(streams), func(b *testing.B) {
			g := newRig(b, func(o *transport.Options) {
				o.ConnectionsPerAddress, o.ConnectionsPerSession, o.Logger = streams, streams, nil
			})
			u, err := url.Parse(g.serve())
			require.NoError(b, err)
			read := make(chan struct{}, streams)
			for range streams {
				conn := idleStream(b, u.Host, eventsPath, "", `"state":"live"}`)
				b.Cleanup(func() { _ = conn.Close() })
				go countBursts(conn, burst, read)
			}
			n := 0
			for b.Loop() {
				for range burst {
					g.hub.Publish(rigRow(rigSession, n), false)
					n++
				}
				for range streams {
					<-read
				}
			}
			b.ReportMetric(float64(n*streams)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// countBursts signals after every burst of events, until the stream ends.
func countBursts(conn net.Conn, burst int, read chan<- struct{}) {
	buf := make([]byte, 64<<10)
	for seen := 0; ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		seen += bytes.Count(buf[:n], []byte("data: "))
		for ; seen >= burst; seen -= burst {
			read <- struct{}{}
		}
	}
}
