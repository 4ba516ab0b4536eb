package chat_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// TestTheHubIsSafeForConcurrentUse runs everything at once. It fails by the race detector, by a deadlock, or when a resident who is
// there all the time lacks a row or has one twice.
func TestTheHubIsSafeForConcurrentUse(t *testing.T) {
	const rounds, writers = 300, 3
	c := newClock()
	hub, err := chat.NewHub(chat.Options{
		Signer: newSigner(t), Now: c.now, OnScopeNeeded: func(string) {}, OnGap: func(string) {}, ResumeWindow: time.Nanosecond,
	})
	require.NoError(t, err)
	join := func(v *chat.Visitor, cursor string) (*chat.Attachment, bool) {
		a := hub.Attach(v, cursor, chat.SubscriberOptions{Wake: func() {}, MaxBytes: 1 << 30, MaxEvents: 1 << 20})
		if a.Building() {
			a.Baseline(nil, nil, start.Add(-time.Hour), start)
		}
		<-a.Ready()
		if a.Failed() {
			return a, false
		}
		if _, read := a.Resume(); read {
			a.Backlog(nil, nil)
		}
		for {
			_, live, lost := a.Next(1 << 16)
			if live {
				return a, true
			}
			if lost {
				a.Rewind()
			}
		}
	}
	resident, ok := join(visitorS(), "")
	require.True(t, ok)

	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for i := range rounds {
				hub.Publish(mine(rowName(w*rounds+i), start), false)
				hub.Publish(taggedRow(name("other", w*rounds+i), idC2, idS2, start), false)
			}
		})
	}
	g.Go(func() {
		for i := range rounds {
			release := hub.Hold([]string{idC1, idC2})
			hub.Recover(idC1, []*chat.Row{mine(rowName(i), start)}, nil, nil)
			hub.SetProved(idC1, c.now(), time.Hour)
			release()
			hub.Delete(name("other", i))
			hub.Publish(untaggedRow(name("untagged", i), idC2, start), false)
			hub.SetScope(idC2, hub.BeginScope(idC2), nil)
		}
	})
	for range 2 {
		g.Go(func() {
			cursor := ""
			for range rounds {
				a, ok := join(visitorS2(), cursor)
				if ok {
					cursor = a.LiveCursor()
				}
				a.Close()
			}
		})
	}
	g.Go(func() {
		for range rounds {
			c.advance(time.Millisecond)
			hub.EndSession(idC2, idS2, chat.SessionEnded, &chat.Control{Type: "session_ended"})
			hub.Sweep()
			hub.Interests()
			hub.Visitors()
			hub.UpdateVisitor(visitorS2())
			hub.PublishUnstored(visitorS2(), "u", "text")
		}
	})
	g.Wait()

	items, _ := resident.Subscriber.Take(nil)
	seen := make(map[string]int)
	for _, it := range items {
		require.NotNil(t, it.Event)
		seen[it.Event.Message.ID]++
	}
	assert.Len(t, seen, writers*rounds)
	assert.Len(t, items, writers*rounds)
}
