package feed

import (
	"encoding/json"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// controlHandler follows the sessions and links tables: one channel for each, because one bad binding fails a whole join. The
// filters keep ordinary chat traffic, which touches session rows with every message, off the tenant's event limit.
type controlHandler struct {
	feed            *Feed
	sessions, links string // topics
	unpublished     map[string]bool
}

func (f *Feed) newControlClient() (*realtime.Client, error) {
	o := f.opts.Realtime
	t := f.opts.Tables
	h := &controlHandler{
		feed: f, sessions: randomTopic("sessions"), links: randomTopic("links"), unpublished: make(map[string]bool),
	}
	channel := func(topic, table, filter string) realtime.ChannelSpec {
		return realtime.ChannelSpec{Topic: topic, Bindings: []realtime.Binding{
			{Event: "UPDATE", Schema: t.Schema, Table: table, Filter: filter},
			{Event: "DELETE", Schema: t.Schema, Table: table},
		}}
	}
	o.Channels = []realtime.ChannelSpec{
		channel(h.sessions, t.Sessions, t.SessionColumns.Name("status")+"=neq.active"),
		channel(h.links, t.Links, t.LinkColumns.Name("is_active")+"=eq.false"),
	}
	o.Handler = h
	o.Logger = f.opts.Logger.With("socket", "control")
	return realtime.New(o)
}

// OnStatus says once for each table that endings take longer while it is not published.
func (h *controlHandler) OnStatus(s realtime.Status) {
	table := h.feed.opts.Tables.Sessions
	if s.Topic == h.links {
		table = h.feed.opts.Tables.Links
	}
	switch {
	case s.State == realtime.StateLive:
		if h.unpublished[table] {
			h.feed.log.Info("table is published now: endings are immediate", "table", table)
		}
		h.unpublished[table] = false
	case realtime.NotPublished(s.Err) && !h.unpublished[table]:
		h.unpublished[table] = true
		h.feed.log.Warn("table is not published: its endings take up to 15 s", "table", table,
			"remedy", publishSQL(h.feed.opts.Tables.Schema, table))
	case s.Err != nil && realtime.IsConfiguration(s.Err) && !realtime.NotPublished(s.Err):
		h.feed.log.Warn("realtime refuses a control channel: endings take up to 15 s", "table", table, "err", s.Err)
	}
}

// OnChange hands an ending to the authoriser.
func (h *controlHandler) OnChange(c realtime.Change) {
	control, t := h.feed.opts.Control, h.feed.opts.Tables
	switch c.Topic {
	case h.sessions:
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
	case h.links:
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
func (h *controlHandler) OnBroadcast(string, string, json.RawMessage, json.RawMessage) {}
