package transport

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// frontChannel is one topic of a socket, from its join on. While busy, the goroutine of the join holds what the channel has attached;
// afterwards whoever ends the channel lets go of it.
type frontChannel struct {
	// Fixed before the channel is shared.
	front    *front
	topic    string
	joinRef  phoenix.Ref
	ref      phoenix.Ref  // of the join itself
	began    time.Time    // at the latest, in the database's clock: what is created from then on is owed
	past     string       // the cursor of a channel that this one replaced
	replaces *phoenix.Ref // of the channel that was here before, until its client is told
	frontJoin

	at frontPosition // guarded by front.acks.mu

	// Set by the goroutine of the join before the subscriber is released or the channel is in a room.
	sub        *chat.Subscriber
	attachment *chat.Attachment
	gate       *gate
	untrack    func()
	room       roomKey
	bound      string // the session whose place among the socket's connections this channel shares

	// Guarded by front.mu.
	busy   bool
	joined bool // answered with ok
	done   bool // nothing is written any more
	forget bool // left, or ended for good: nothing to come back to
	token  chat.Token
	stop   func() // ends what the join waits for
	trying func() // ends the look at a new token; nil when there is none
}

// detachLocked takes a channel out of its socket and reports whether the caller has to release it. front.mu is held.
func (f *front) detachLocked(c *frontChannel) (idle bool) {
	if c.done {
		return false
	}
	c.done = true
	if f.channels[c.topic] == c {
		delete(f.channels, c.topic)
		if len(f.channels) == 0 {
			f.channelless = time.Now()
		}
	}
	for _, stop := range []func(){c.stop, c.trying} {
		if stop != nil {
			stop()
		}
	}
	return !c.busy
}

// unbind gives up the channel's share in its session's place.
func (c *frontChannel) unbind() {
	if c.bound != "" {
		c.front.lease.unbind(c.bound)
		c.bound = ""
	}
}

// release lets go of all that a channel has attached. It is called once, behind detachLocked.
func (c *frontChannel) release() {
	defer c.unbind()
	if c.attachment == nil {
		return
	}
	shared := c.front.server.front
	shared.rooms.leave(c)
	confirmed, _ := c.front.acks.confirmed(c)
	c.front.acks.leave(c)
	c.front.mu.Lock()
	forget := c.forget
	c.front.mu.Unlock()
	if why := c.sub.Ended(); !forget && (why == nil || why.Reconnect) && c.wantsChanges() {
		shared.past.keep(c.sub.Visitor().SessionID, c.topic, confirmed)
	}
	c.attachment.Close()
	c.untrack()
	c.front.server.gates.leave(c.gate)
}

// giveUpLocked ends a join that waits although its subscriber has ended. front.mu is held.
func (c *frontChannel) giveUpLocked() {
	if c.sub != nil && c.sub.Ended() != nil && c.stop != nil {
		c.stop()
	}
}

// passesEnd returns the subscriber's end unless the items bring it.
func (c *frontChannel) passesEnd(items []chat.Item) error {
	if why := c.sub.Ended(); why != nil && (len(items) == 0 || items[len(items)-1].End == nil) {
		return why
	}
	return nil
}

// farewell is how a channel ends on the wire: in a way that keeps both generations of clients from coming back, or that makes them.
func (c *frontChannel) farewell(why *chat.Disconnect) []phoenix.Message {
	if why.Reconnect {
		return []phoenix.Message{phoenix.ChannelError(c.joinRef, c.topic)}
	}
	return []phoenix.Message{c.system("system", phoenix.StatusError, why.Message), phoenix.Close(c.joinRef, c.topic)}
}

func (c *frontChannel) system(extension, status, text string) phoenix.Message {
	return phoenix.System(c.joinRef, c.topic, phoenix.SystemPayload{
		Message: text, Status: status, Extension: extension, Channel: c.topic[len(phoenix.TopicPrefix):],
	})
}

// finishChannel takes down a channel whose subscriber has ended and whose end is written.
func (f *front) finishChannel(c *frontChannel, why *chat.Disconnect) {
	if why == chat.SlowConsumer {
		f.end(why, nil) // its client comes back with every channel
		return
	}
	f.mu.Lock()
	c.forget = c.forget || !why.Reconnect
	idle := f.detachLocked(c)
	f.mu.Unlock()
	if idle {
		c.release()
	}
}

// failChannel ends a channel with a system message that keeps clients from coming back.
func (f *front) failChannel(c *frontChannel, text string) {
	f.dismiss(c, c.system("system", phoenix.StatusError, text), phoenix.Close(c.joinRef, c.topic))
}

// dismiss ends a channel for good; the messages are the last that it gets.
func (f *front) dismiss(c *frontChannel, last ...phoenix.Message) {
	f.mu.Lock()
	if c.done {
		f.mu.Unlock()
		return
	}
	c.forget = true
	idle := f.detachLocked(c)
	for _, m := range last {
		f.pushLocked(nil, m)
	}
	f.mu.Unlock()
	if idle {
		c.release()
	}
}

// spawnJoin runs a join in a goroutine of its own. Its context ends with the channel and with the server; what it returns is told the
// client after a while.
func (f *front) spawnJoin(c *frontChannel, join func(ctx context.Context) *frontRefusal) {
	ctx, cancel := f.server.workContext(f.server.base)
	f.mu.Lock()
	if c.done || f.shut {
		f.mu.Unlock()
		cancel(nil)
		return
	}
	if f.joins >= maxFrontChannels {
		f.mu.Unlock()
		cancel(nil)
		f.end(chat.LimitReached, nil)
		return
	}
	f.joins++
	f.writers.Add(1)
	c.busy, c.stop = true, func() { cancel(context.Canceled) }
	f.mu.Unlock()
	f.server.wheel.hurry(&f.timer)
	go func() {
		defer f.writers.Done()
		defer cancel(nil)
		ref := join(ctx)
		f.mu.Lock()
		f.joins--
		c.busy, c.stop = false, nil
		over := c.done
		if !over && ref != nil {
			f.refuseLaterLocked(c, ref)
		}
		f.mu.Unlock()
		if over {
			c.release()
		}
	}()
}
