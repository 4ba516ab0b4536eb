package main_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

// pollWait is how long a poll may wait for a message, in seconds.
const pollWait = 10

// polls asks again and again. Each answer is a visit of its own in the log.
func (v *soakVisitor) polls(ctx context.Context, client *proxytest.Visitor, c visit) error {
	for ; ; c.missed = false {
		c.begun, c.brought, c.poll = time.Now(), v.cursor != "", true
		r, err := client.Poll(ctx, v.cursor, 0, pollWait)
		if err != nil {
			return err
		}
		if r.Status != http.StatusOK {
			return v.refused(r.Status)
		}
		v.polled(c, r)
	}
}

func (v *soakVisitor) polled(c visit, r *proxytest.PollReply) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	c.opened, c.closed, c.resumed = now, now, r.Resumed
	v.visits = append(v.visits, c)
	for _, m := range r.Messages {
		v.log = append(v.log, soakEntry{now, len(v.visits) - 1, !c.brought, m})
	}
	if len(r.Updates) > 0 {
		v.faults = append(v.faults, fmt.Sprintf("%d updates, and nothing was changed", len(r.Updates)))
	}
	v.cursor = r.Cursor
}
