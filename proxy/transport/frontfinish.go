package transport

import (
	"log/slog"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// frontCloses are the close codes of the protocol where they differ from the proxy's own. Its clients come back after every one.
var frontCloses = map[*chat.Disconnect]*chat.Disconnect{
	chat.LimitReached: {Code: chat.LimitReached.Code, Close: websocket.CloseGoingAway, Message: "Too many messages per second"},
	chat.Unavailable:  {Code: chat.Unavailable.Code, Close: websocket.CloseServiceRestart, Message: chat.Unavailable.Message},
	chat.AuthenticateTimeout: {
		Code: chat.AuthenticateTimeout.Code, Close: websocket.CloseNormalClosure, Message: "No channel was joined",
	},
}

func frontClose(why *chat.Disconnect) *chat.Disconnect {
	if of, ok := frontCloses[why]; ok {
		return of
	}
	return why
}

func (f *front) counters() *wireMetrics { return f.server.front.wire }

// because records why the front ends; the first cause counts.
func (f *front) because(why *chat.Disconnect) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why == nil {
		f.why = why
	}
}

// ending reports whether the front's end has been decided.
func (f *front) ending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why != nil
}

// end closes the socket behind what is queued for it; a slow peer is not sent more. The protocol has no form for last.
func (f *front) end(why *chat.Disconnect, _ *chat.Control) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why != nil {
		return
	}
	f.why, f.closing = why, frontClose(why)
	if why == chat.SlowConsumer {
		f.out, f.outBytes = nil, 0
	}
	f.wakeLocked()
}

// closeNow writes a close frame past the queue.
func (f *front) closeNow(why *chat.Disconnect) {
	f.mu.Lock()
	if f.closing == nil {
		f.closing = frontClose(why)
	}
	f.mu.Unlock()
	_ = f.write(nil, nil) // write has drawn the consequences
}

// cut ends the connection without a word.
func (f *front) cut(why *chat.Disconnect) {
	f.because(why)
	f.sink.close()
}

// leave takes the front down. It is called once, by its owner, and returns when nothing of the front is left.
func (f *front) leave() {
	s := f.server
	f.mu.Lock()
	f.shut = true
	if f.why == nil {
		f.why = chat.Gone
	}
	why, joined := f.why, len(f.channels)
	var idle []*frontChannel
	for _, c := range f.channels {
		if f.detachLocked(c) {
			idle = append(idle, c)
		}
	}
	vouch := f.vouch
	f.mu.Unlock()
	f.sink.close()
	s.front.past.keepVouch(f.key.credential, vouch)
	for _, c := range idle {
		c.release()
	}
	f.writers.Wait()
	s.wheel.remove(&f.timer)
	f.lease.release()
	f.counters().end(why)
	s.log.LogAttrs(s.base, slog.LevelInfo, "stream ended", slog.String("conn_id", f.connID),
		slog.String("transport", transportRealtime), slog.String("reason", why.Code),
		slog.Duration("age", time.Since(f.opened).Round(time.Millisecond)), slog.Int("channels", joined))
	s.remove(f)
}

func (f *front) beginWriter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return false
	}
	f.writers.Add(1)
	return true
}

// tick is called by the wheel: at every step while a channel joins, then whenever a ping or an end may be due.
func (f *front) tick(now time.Time) time.Duration {
	age := now.Sub(f.opened)
	if age >= f.maxAge {
		f.end(chat.MaxAge, nil)
		return 0
	}
	f.mu.Lock()
	next, ending := f.maxAge-age, f.why != nil
	for _, c := range f.channels {
		if c.busy {
			next = nextStep
			c.giveUpLocked()
		}
	}
	alone := now.Sub(f.channelless)
	if len(f.channels) == 0 {
		next = min(next, max(channellessTime-alone, nextStep))
	}
	deserted := len(f.channels) == 0 && alone >= channellessTime
	f.mu.Unlock()
	switch {
	case ending:
		return 0
	case deserted:
		f.end(chat.AuthenticateTimeout, nil)
		return 0
	}
	if age >= f.nextPing {
		f.nextPing = age + f.keepAlive
		if f.sink.ping() {
			f.wake()
		}
	}
	return min(next, f.nextPing-age)
}
