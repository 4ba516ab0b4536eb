package transport

import (
	"context"
	"errors"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// deliver writes what the channel lacks until its events come through the queue. An error takes the channel down, so that its client
// joins again.
func (f *front) deliver(ctx context.Context, c *frontChannel) {
	last := c.attachment.Cursor()
	err := f.server.deliver(ctx, c.attachment, func(events []*chat.Event) error {
		items := takeItems()
		defer func() { recycleItems(items) }()
		for _, e := range events {
			*items = append(*items, chat.Item{Event: e})
			if e.Cursor != "" {
				last = e.Cursor
			}
		}
		return f.write(c, *items)
	})
	why := c.sub.Ended()
	switch {
	case why != nil && err != nil:
		f.endUnreleased(c, why)
	case err == nil:
		f.acks.released(c, last, c.attachment.Released())
	case errors.Is(err, errFinished) || errors.Is(err, context.Canceled):
	default:
		f.server.logFrontRefusal(f, asRefusal(causeOf(ctx, err)))
		f.sever(c)
	}
}

// endUnreleased writes the end of a subscriber that nobody flushes yet.
func (f *front) endUnreleased(c *frontChannel, why *chat.Disconnect) {
	if f.write(c, []chat.Item{{End: why}}) == nil {
		f.finishChannel(c, why)
	}
}

// sever makes the client join again; the channel's place is kept for that.
func (f *front) sever(c *frontChannel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !c.done {
		f.detachLocked(c) // busy: its own goroutine releases it
		f.pushLocked(nil, phoenix.ChannelError(c.joinRef, c.topic))
	}
}

// wakeChannel is called by the hub, when a channel that nobody flushes has something to write.
func (f *front) wakeChannel(c *frontChannel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = append(f.ready, c)
	f.wakeLocked()
}
