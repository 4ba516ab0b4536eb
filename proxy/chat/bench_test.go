package chat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			n := newNode(b, newClock(), 1, nil)
			streams := make([]*stream, subscribers)
			for i := range streams {
				streams[i] = n.join(visitorS(), "", nil, nil)
			}
			row := mine("", start)
			i := 0
			var items []chat.Item
			b.ReportAllocs()
			for b.Loop() {
				r := *row
				r.ID = name("row", i)
				i++
				n.clock.advance(time.Millisecond)
				r.CreatedAt = n.clock.now()
				n.Publish(&r, false)
				for _, s := range streams {
					for more := true; more; {
						items, more = s.Subscriber.Take(items[:0])
					}
				}
				if i%1000 == 0 {
					n.SetProved(idC1, n.clock.now(), time.Second)
				}
			}
		})
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	large := strings.Replace(record, `"hello"`, `"`+strings.Repeat("x", 100<<10)+`"`, 1)
	private := strings.Replace(record, `{"secret": "prompt"}`, `{"secret": "`+strings.Repeat("x", 100<<10)+`"}`, 1)
	for name, text := range map[string]string{"small": record, "content=100KiB": large, "metadata=100KiB": private} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				_, err := chat.DecodeRow([]byte(text), nil)
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkScanField(b *testing.B) {
	private := strings.Replace(record, `{"secret": "prompt"}`, `{"secret": "`+strings.Repeat("x", 100<<10)+`"}`, 1)
	data := []byte(private)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		_, ok := chat.ScanString(data, "conversation_id")
		require.True(b, ok)
	}
}

func BenchmarkCursor(b *testing.B) {
	s := newSigner(b)
	c := fullCursor()
	text := s.SignCursor(c, "session s")
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.SignCursor(c, "session s")
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := s.VerifyCursor(text, "session s")
			require.NoError(b, err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	m := exampleMessage()
	b.ReportAllocs()
	for b.Loop() {
		chat.NewEvent(chat.KindMessage, m, "cursor", start).Encode(chat.DialectMessage)
	}
}
