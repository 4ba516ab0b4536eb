package standin

import (
	"errors"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const subscribedText = "Subscribed to PostgreSQL"

const resubscribeDelay = time.Second // while the database cannot be asked; real servers 1-3 s

// subscribeAfter subscribes the bindings of a channel once d has passed. No lock may be held.
func (rt *realtime) subscribeAfter(c *channel, d time.Duration) {
	if d <= 0 {
		rt.subscribe(c)
		return
	}
	stop := rt.s.after(d, func() { rt.subscribe(c) })
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if c.ended {
		stop()
		return
	}
	c.stops = append(c.stops, stop)
}

// subscribe makes a channel live, or tells it in a system message why not; then it stays joined and gets no changes.
func (rt *realtime) subscribe(c *channel) {
	if _, never := rt.s.faults.fire(NoSystemOK, c.topic); never {
		return
	}
	rt.mu.Lock()
	role := c.claims.role
	rt.mu.Unlock()
	where, err := rt.subscribeBindings(role, c.bindings)
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if c.ended {
		return
	}
	if text, ok := errors.AsType[wireText](err); ok {
		c.live = false
		c.system(phoenix.StatusError, phoenix.ExtensionPostgresChanges, text.Error())
	} else if err != nil { // no database: the server tries again in silence
		c.stops = append(c.stops, rt.s.after(resubscribeDelay, func() { rt.subscribe(c) }))
	} else {
		c.where, c.live, c.role = where, true, role
		c.system(phoenix.StatusOK, phoenix.ExtensionPostgresChanges, subscribedText)
	}
	rt.notifyLocked()
}

// refreshLocked serves the event access_token: the same, a null or an sb_ token is ignored, a good one subscribes anew
// after RefreshDelay, the old role deciding until then, and a bad one ends the channel.
func (rt *realtime) refreshLocked(c *channel, m phoenix.Message) {
	decoded, err := decodeJSON(m.Payload)
	payload, _ := decoded.(map[string]any)
	token, _ := payload["access_token"].(string)
	if err != nil || token == "" || strings.HasPrefix(token, "sb_") || token == c.token {
		return
	}
	fresh, err := rt.s.keys.verify(token)
	if refused, ok := errors.AsType[*tokenError](err); ok {
		text := refused.text
		if refused.update != "" {
			text = refused.update
		}
		rt.failLocked(c, text)
		return
	}
	c.token, c.claims = token, fresh
	if c.private && fresh.role != roleService {
		rt.failLocked(c, "You do not have permissions to read from this Channel topic: "+strings.TrimPrefix(c.topic, phoenix.TopicPrefix))
		return
	}
	rt.watchExpiryLocked(c)
	if len(c.bindings) > 0 {
		c.stops = append(c.stops, rt.s.after(max(rt.s.opts.RefreshDelay, time.Nanosecond), func() { rt.subscribe(c) }))
	}
}

// watchExpiryLocked ends the channel when its token expires.
func (rt *realtime) watchExpiryLocked(c *channel) {
	if c.claims.expires.IsZero() {
		return
	}
	left := max(c.claims.expires.Sub(rt.s.opts.Now()), time.Nanosecond)
	token := c.token
	c.stops = append(c.stops, rt.s.after(left, func() {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		if !c.ended && c.token == token {
			rt.failLocked(c, "Token has expired 0 seconds ago")
		}
	}))
}
