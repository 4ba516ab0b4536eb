package transport

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Wheel and Ticker let tests drive the timer wheel.
type Wheel struct{ w *wheel }

// Ticker is one owner in a Wheel.
type Ticker struct {
	t    timer
	Tick func(now time.Time) time.Duration
}

func (o *Ticker) tick(now time.Time) time.Duration { return o.Tick(now) }

func NewWheel() Wheel                           { return Wheel{newWheel()} }
func (w Wheel) Run(ctx context.Context)         { w.w.run(ctx) }
func (w Wheel) Add(o *Ticker, in time.Duration) { w.w.add(&o.t, o, in) }
func (w Wheel) Remove(o *Ticker)                { w.w.remove(&o.t) }
func (w Wheel) Advance(now time.Time)           { w.w.advance(now) }

// ClientAddr is clientAddr.
var ClientAddr = clientAddr

// Pong is the answer to a message that is taken for a ping.
func Pong(text []byte) ([]byte, bool) {
	in, ok := decodeInbound(text)
	return pongControl(in).Encode(chat.DialectWebSocket), ok
}
