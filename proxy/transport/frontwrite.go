package transport

import (
	"errors"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// push queues a message. One that its version has no frame for is dropped, as the real server does.
func (f *front) push(m phoenix.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushLocked(nil, m)
}

// pushLocked queues a message, void once the channel of (may be nil) is over.
func (f *front) pushLocked(of *frontChannel, m phoenix.Message) {
	data, binary, err := phoenix.EncodeServer(f.version, nil, m)
	if err == nil {
		f.queueLocked(frontFrame{data, binary, of})
	}
}

func (f *front) queueLocked(frame frontFrame) {
	if f.why != nil {
		return
	}
	o := &f.server.opts
	if len(f.out) >= o.QueueEvents || f.outBytes+len(frame.data) > o.QueueBytes && len(f.out) > 0 {
		f.why, f.closing = chat.SlowConsumer, frontClose(chat.SlowConsumer)
		f.out, f.outBytes = nil, 0
	} else {
		f.out = append(f.out, frame)
		f.outBytes += len(frame.data)
	}
	f.wakeLocked()
}

// wake starts a flusher if none is running.
func (f *front) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeLocked()
}

func (f *front) wakeLocked() {
	if !f.flushing && !f.shut {
		f.flushing = true
		f.writers.Add(1)
		go f.flush()
	}
}

// flush writes until nothing waits. flushing is cleared under the lock that saw that, so nothing is stranded.
func (f *front) flush() {
	defer f.writers.Done()
	for {
		if f.write(nil, nil) != nil {
			return // for good: flushing stays set
		}
		f.mu.Lock()
		ready := f.ready
		f.ready = nil
		if len(ready) == 0 && len(f.out) == 0 && f.closing == nil {
			f.flushing = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		for _, c := range ready {
			if !f.flushChannel(c) {
				return
			}
		}
	}
}

// flushChannel writes what waits for a channel. It returns false when nothing more can be written at all.
func (f *front) flushChannel(c *frontChannel) bool {
	items := takeItems()
	defer func() { recycleItems(items) }()
	for {
		var more bool
		if *items, more = c.sub.Take((*items)[:0]); !more {
			return true
		}
		err := f.write(c, *items)
		end := (*items)[len(*items)-1].End
		clear(*items)
		why, ended := errors.AsType[*chat.Disconnect](err)
		switch {
		case end != nil && err == nil:
			f.finishChannel(c, end)
		case err != nil && !(ended && why == c.sub.Ended()): // else the end is next
			return false
		}
	}
}

// write is the one way to the wire. It lets out what is queued for the socket, then the items of a channel. Nothing passes a
// subscriber's end: until that is written, write returns the end. A write that fails ends the front.
func (f *front) write(c *frontChannel, items []chat.Item) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	for {
		if f.finished {
			return errFinished
		}
		n := frontBatch(items)
		err := f.pass(c, items[:n])
		if err != nil || n == len(items) {
			return err
		}
		items = items[n:]
	}
}

func frontBatch(items []chat.Item) int {
	n := 0
	for size := 0; n < len(items) && size < maxBatchBytes; n++ {
		if e := items[n].Event; e != nil {
			size += len(e.Encode(chat.DialectRealtime))
		}
	}
	return n
}

// pass gathers what is queued and the items, and lets them out at once.
func (f *front) pass(c *frontChannel, items []chat.Item) error {
	frames, closing, mute := f.takeOut(c)
	err := f.gatherFrames(frames)
	var ended error
	if err == nil && c != nil && !mute {
		if ended = c.passesEnd(items); ended == nil {
			err = f.gather(c, items)
		}
	}
	if payload := f.acks.next(); err == nil && payload != nil {
		err = f.sink.probe(payload)
	}
	if err == nil {
		err = f.sink.frame(nil) // pings and pongs
	}
	n, timeout := 0, f.server.opts.WriteTimeout
	switch {
	case err != nil:
	case closing != nil:
		f.finished = true
		n, err = f.sink.finish(closing, timeout)
	default:
		n, err = f.sink.flush(timeout)
	}
	if n > 0 {
		f.counters().writes.Inc()
		f.counters().bytes.Add(float64(n))
	}
	switch {
	case err != nil:
		f.finished = true
		f.lost(err)
		return err
	case closing != nil:
		return errFinished
	}
	return ended
}

// takeOut takes what is queued for the socket; mute says that the channel is over.
func (f *front) takeOut(c *frontChannel) (frames []frontFrame, closing *chat.Disconnect, mute bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames = f.out[:0]
	for _, frame := range f.out {
		if frame.of == nil || !frame.of.done && frame.of.sub.Ended() == nil {
			frames = append(frames, frame)
		}
	}
	f.out, f.outBytes = nil, 0
	return frames, f.closing, c != nil && c.done
}

func (f *front) gatherFrames(frames []frontFrame) error {
	for _, frame := range frames {
		kind := websocket.TextMessage
		if frame.binary {
			kind = websocket.BinaryMessage
		}
		if err := f.sink.message(kind, frame.data); err != nil {
			return err
		}
	}
	return nil
}

// gather puts the items of a channel into the sink.
func (f *front) gather(c *frontChannel, items []chat.Item) error {
	events := 0
	for i := range items {
		var err error
		switch it := &items[i]; {
		case it.End != nil:
			err = f.gatherEnd(c, it.End)
		case it.Event != nil && c.sub.Guard(it.Event):
			var wrote bool
			if wrote, err = f.gatherEvent(c, it.Event); wrote {
				events++
			}
		}
		if err != nil {
			return err
		}
	}
	f.counters().events.Add(float64(events))
	return nil
}

// gatherEvent writes one frame for each column list of the bindings that the event matches.
func (f *front) gatherEvent(c *frontChannel, e *chat.Event) (wrote bool, err error) {
	f.acks.wrote(c, e.Cursor)
	for _, match := range c.matching(e) {
		buf := buffers.Get().(*[]byte)
		*buf = match.appendPayload((*buf)[:0], e)
		m := phoenix.Message{Topic: c.topic, Event: phoenix.EventPostgresChanges, Payload: *buf}
		if c.legacy {
			m.Event = e.Kind.ChangeType()
		}
		frame := buffers.Get().(*[]byte)
		data, _, err := phoenix.EncodeServer(f.version, (*frame)[:0], m)
		if err == nil {
			err = f.sink.message(websocket.TextMessage, data)
		}
		*frame = data
		recycle(frame)
		recycle(buf)
		if err != nil {
			return false, err
		}
		wrote = true
	}
	return wrote, nil
}

// gatherEnd writes how a channel ends: for good, or so that the client joins again.
func (f *front) gatherEnd(c *frontChannel, why *chat.Disconnect) error {
	if why == chat.SlowConsumer {
		return nil // the socket is closed for it
	}
	for _, m := range c.farewell(why) {
		data, _, err := phoenix.EncodeServer(f.version, nil, m)
		if err == nil {
			err = f.sink.message(websocket.TextMessage, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
