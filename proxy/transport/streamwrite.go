package transport

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxBatchBytes is about what one write takes at most; one event may be larger.
const maxBatchBytes = 64 << 10

// errFinished is what a write to a finished stream returns.
var errFinished = errors.New("the stream is finished")

// write is the one way to the wire, of both transports. Nothing passes a subscriber's end but what End put last: until that is
// written, write returns the end. A write that fails ends the stream.
func (st *stream) write(items []chat.Item) error {
	st.writing.Lock()
	defer st.writing.Unlock()
	alone := len(items) == 1
	for len(items) > 0 {
		if st.finished {
			return errFinished
		}
		n := st.batch(items)
		end := items[n-1].End
		if sub := st.subscriber(); sub != nil && end == nil && items[len(items)-1].End == nil {
			if why := sub.Ended(); why != nil {
				return why
			}
		}
		if err := st.pass(items[:n], end, alone); err != nil {
			st.finished = true
			st.lost(err)
			return err
		}
		items = items[n:]
	}
	return nil
}

// batch is how many of the items go out at once: some maxBatchBytes, which the deadline of one write is for.
func (st *stream) batch(items []chat.Item) int {
	n := 0
	for size := 0; n < len(items) && size < maxBatchBytes; n++ {
		size += len(items[n].Frame)
		if e := items[n].Event; e != nil {
			size += len(e.Encode(st.dialect))
		}
	}
	return n
}

// pass gathers the items and lets them out at once.
func (st *stream) pass(items []chat.Item, end *chat.Disconnect, alone bool) error {
	if end != nil && alone && st.dialect != chat.DialectWebSocket {
		// An event stream has no close frame, so its end needs an event.
		items = []chat.Item{{Frame: st.server.farewell(end).Encode(st.dialect)}}
	}
	spoke, err := st.gather(items)
	if err != nil {
		return err
	}
	timeout, n := st.server.opts.WriteTimeout, 0
	if end == nil {
		n, err = st.sink.flush(timeout)
	} else {
		st.finished = true
		st.because(end)
		n, err = st.sink.finish(end, timeout)
	}
	if n > 0 {
		st.wire.writes.Inc()
		st.wire.bytes.Add(float64(n))
		if spoke {
			st.lastWrite.Store(int64(time.Since(st.opened)))
		}
	}
	return err
}

// gather puts the items into the sink and reports whether that was more than control frames.
func (st *stream) gather(items []chat.Item) (spoke bool, err error) {
	events := 0
	for i := range items {
		switch it := &items[i]; {
		case it.End != nil:
		case it.Event == nil:
			spoke = spoke || len(it.Frame) > 0
			err = st.sink.frame(it.Frame)
		case st.sub.Guard(it.Event):
			events++
			err = st.sink.event(it.Event)
		}
		if err != nil {
			return false, err
		}
	}
	st.wire.events.Add(float64(events))
	return spoke || events > 0, nil
}

func (st *stream) writeEvents(events []*chat.Event) error {
	items := takeItems()
	defer func() { recycleItems(items) }()
	for _, e := range events {
		*items = append(*items, chat.Item{Event: e})
	}
	return st.write(*items)
}

// push queues a frame, or writes it when there is no queue yet. An empty frame stands for the sink's waiting control frames.
func (st *stream) push(frame []byte) {
	if sub := st.subscriber(); sub != nil {
		sub.Push(frame)
		return
	}
	_ = st.write([]chat.Item{{Frame: frame}}) // write has drawn the consequences
}

// wake starts a flusher. It is called by the hub, and only when none is running.
func (st *stream) wake() {
	if st.beginWriter() {
		go st.flush()
	}
}

func (st *stream) flush() {
	defer st.writers.Done()
	items := takeItems()
	defer func() { recycleItems(items) }()
	for {
		var more bool
		if *items, more = st.sub.Take((*items)[:0]); !more {
			return
		}
		err := st.write(*items)
		clear(*items)
		if why, ended := errors.AsType[*chat.Disconnect](err); ended && why == st.sub.Ended() {
			continue // the end is next
		}
		if err != nil {
			return // for good: nobody wakes another flusher
		}
	}
}

// lost ends a stream whose connection does not take what is written.
func (st *stream) lost(err error) {
	why := chat.Gone
	if errors.Is(err, os.ErrDeadlineExceeded) {
		why = chat.SlowConsumer
	}
	st.cut(why)
}

func (st *stream) beginWriter() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.shut {
		return false
	}
	st.writers.Add(1)
	return true
}

var itemSlices = sync.Pool{New: func() any { return new(make([]chat.Item, 0, 16)) }}

func takeItems() *[]chat.Item { return itemSlices.Get().(*[]chat.Item) }

func recycleItems(items *[]chat.Item) {
	if cap(*items) <= 256 {
		clear((*items)[:cap(*items)])
		*items = (*items)[:0]
		itemSlices.Put(items)
	}
}
