package feed

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// controlSocket is one client of both tables: one channel for each, because one bad binding fails a whole join. The filters keep
// ordinary chat traffic, which touches session rows with every message, off the tenant's event limit.
type controlSocket struct {
	control         *control
	client          *realtime.Client
	stop            context.CancelFunc // owned by control, nil before start
	sessions, links string             // topics

	mu       sync.Mutex
	live     map[string]bool // by table
	openedAt time.Time       // zero while there is no socket
}

func (c *control) newSocket() (*controlSocket, error) {
	f, o := c.feed, c.feed.opts.Realtime
	t := f.opts.Tables
	s := &controlSocket{
		control: c, sessions: randomTopic("sessions"), links: randomTopic("links"), live: make(map[string]bool),
	}
	channel := func(topic, table, filter string) realtime.ChannelSpec {
		return realtime.ChannelSpec{Topic: topic, Bindings: []realtime.Binding{
			{Event: "UPDATE", Schema: t.Schema, Table: table, Filter: filter},
			{Event: "DELETE", Schema: t.Schema, Table: table},
		}}
	}
	o.MaxAge = 0 // run recycles
	o.Channels = []realtime.ChannelSpec{
		channel(s.sessions, t.Sessions, t.SessionColumns.Name("status")+"=neq.active"),
		channel(s.links, t.Links, t.LinkColumns.Name("is_active")+"=eq.false"),
	}
	o.Handler = s
	o.Logger = f.opts.Logger.With("socket", "control")
	var err error
	s.client, err = realtime.New(o)
	return s, err
}

// opened is when the socket was last opened; zero while there is none.
func (s *controlSocket) opened() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openedAt
}

// covers reports whether the socket is open, and live on every table that the other one is live on.
func (s *controlSocket) covers(other *controlSocket) bool {
	other.mu.Lock()
	wanted := maps.Clone(other.live)
	other.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for table, live := range wanted {
		if live && !s.live[table] {
			return false
		}
	}
	return !s.openedAt.IsZero()
}

// OnStatus follows the channels.
func (s *controlSocket) OnStatus(status realtime.Status) {
	table := s.control.feed.opts.Tables.Sessions
	if status.Topic == s.links {
		table = s.control.feed.opts.Tables.Links
	}
	s.mu.Lock()
	switch {
	case status.State == realtime.StateDialing:
		s.openedAt = time.Time{}
	case status.State == realtime.StateJoining && s.openedAt.IsZero():
		s.openedAt = status.At
	}
	s.live[table] = status.State == realtime.StateLive
	s.mu.Unlock()
	if status.State == realtime.StateLive {
		s.control.feed.opts.Control.ControlMissed()
	}
	s.control.note(table, status)
	select {
	case s.control.wake <- struct{}{}:
	default:
	}
}

// OnChange hands an ending to the authoriser.
func (s *controlSocket) OnChange(c realtime.Change) {
	o := &s.control.feed.opts
	control, t := o.Control, o.Tables
	switch c.Topic {
	case s.sessions:
		if c.Type == "DELETE" {
			if id, ok := chat.ScanString(c.OldRecord, t.SessionColumns.Name("id")); ok {
				control.SessionDeleted(id)
			}
			return
		}
		field := func(name string) string {
			v, _ := chat.ScanString(c.Record, t.SessionColumns.Name(name))
			return v
		}
		ended, _ := time.Parse(time.RFC3339Nano, field("ended_at"))
		if id := field("id"); id != "" {
			control.SessionChanged(id, field("status"), field("end_reason"), ended)
		}
	case s.links:
		if c.Type == "DELETE" {
			if id, ok := chat.ScanString(c.OldRecord, t.LinkColumns.Name("id")); ok {
				control.LinkDeleted(id)
			}
			return
		}
		id, ok := chat.ScanString(c.Record, t.LinkColumns.Name("id"))
		active, known := chat.ScanField(c.Record, t.LinkColumns.Name("is_active"))
		if ok && known {
			control.LinkChanged(id, string(active) == "true")
		}
	}
}

// OnBroadcast ignores broadcasts.
func (s *controlSocket) OnBroadcast(string, string, json.RawMessage, json.RawMessage) {}
