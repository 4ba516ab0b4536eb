package feed

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// newMessagesClient makes the socket with the one table-wide binding of the messages table. Other bindings have sockets of their
// own, because a refused join freezes its socket for five seconds.
func (f *Feed) newMessagesClient() (*realtime.Client, error) {
	o := f.opts.Realtime
	t := f.opts.Tables
	o.Channels = []realtime.ChannelSpec{{
		Topic:    randomTopic("messages"),
		Bindings: []realtime.Binding{{Event: "*", Schema: t.Schema, Table: t.Messages}},
	}}
	o.Handler = (*messagesHandler)(f)
	o.Logger = f.opts.Logger.With("socket", "messages")
	return realtime.New(o)
}

// messagesHandler is the Feed as the messages socket sees it.
type messagesHandler Feed

// OnStatus follows the channel. Every confirmation of the subscription, also a repeated one, owes a catch-up: the server may have
// dropped changes before it.
func (h *messagesHandler) OnStatus(s realtime.Status) {
	f := (*Feed)(h)
	switch {
	case s.State == realtime.StateLive:
		f.explained = ""
		f.live.Store(true)
		f.entered.Add(1)
	default:
		f.live.Store(false)
		f.explain(s.Err)
	}
	f.signal()
}

// explain says once what a person must do about a refusal.
func (f *Feed) explain(err error) {
	switch {
	case err == nil || err.Error() == f.explained:
	case realtime.NotPublished(err):
		f.explained = err.Error()
		f.log.Error("the messages table is not published: new messages come by polling until it is",
			"remedy", publishSQL(f.opts.Tables.Schema, f.opts.Tables.Messages))
	case realtime.IsConfiguration(err):
		f.explained = err.Error()
		f.log.Error("realtime refuses the proxy: new messages come by polling", "err", err)
	}
}

func publishSQL(schema, table string) string {
	return "alter publication supabase_realtime add table " + quoteIdent(schema) + "." + quoteIdent(table) + ";"
}

// quoteIdent quotes an SQL identifier where it needs it.
func quoteIdent(name string) string {
	plain := name != "" && (name[0] < '0' || name[0] > '9')
	for _, r := range name {
		plain = plain && (r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// OnChange takes a change of the messages table into the hub.
func (h *messagesHandler) OnChange(c realtime.Change) {
	f := (*Feed)(h)
	f.metrics.change()
	columns := f.opts.Tables.MessageColumns
	if c.Type == "DELETE" {
		if id, ok := chat.ScanString(c.OldRecord, columns.Name("id")); ok {
			f.hub.Delete(id)
		}
		return
	}
	if refused(c.Errors) {
		// Such a change says nothing about whose row it is: it goes nowhere.
		f.metrics.refused()
		f.log.Error("realtime withholds rows: the service role lacks rights on the messages table, or it has no primary key",
			"errors", c.Errors)
		return
	}
	id, ok := chat.ScanString(c.Record, columns.Name("conversation_id"))
	if !ok || !f.hub.Watched(id) {
		return
	}
	row, err := chat.DecodeRow(c.Record, columns)
	if err != nil {
		f.log.Warn("unreadable row", "err", err)
		f.gaps.add(id)
		f.signal()
		return
	}
	f.missing.brought(row.ID)
	if row.Partial || slices.ContainsFunc(c.Errors, tooLarge) {
		f.repair(row)
		return
	}
	f.hub.Publish(row, c.Type == "UPDATE")
}

func refused(errs []string) bool {
	return slices.ContainsFunc(errs, func(s string) bool {
		return strings.HasPrefix(s, "Error 401") || strings.HasPrefix(s, "Error 400")
	})
}

func tooLarge(s string) bool { return strings.HasPrefix(s, "Error 413") }

// OnBroadcast ignores broadcasts: nobody sends any on this topic.
func (h *messagesHandler) OnBroadcast(string, string, json.RawMessage, json.RawMessage) {}
