package feed

import (
	"slices"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

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

// OnChange takes a change of the messages table into the hub, if it comes over the current socket. Two sockets at once would mix up the
// order of commits, and a catch-up follows when one replaces the other.
func (s *socket) OnChange(c realtime.Change) {
	if s.canary != "" && c.Topic == s.canary {
		s.feed.canary.onChange(s, c)
		return
	}
	f := s.feed
	f.arriving.Lock()
	defer f.arriving.Unlock()
	if f.current.Load() != s {
		return
	}
	f.metrics.change()
	committed := s.noteChange(c)
	columns := f.opts.Tables.MessageColumns
	if c.Type == "DELETE" {
		if id, ok := chat.ScanString(c.OldRecord, columns.Name("id")); ok {
			f.missing.bring(id) // of a row that is gone by then, the server sends no INSERT
			f.hub.DeleteCommitted(id, committed)
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
		return
	}
	row.CommittedAt = committed
	f.missing.bring(row.ID)
	if row.Partial || slices.ContainsFunc(c.Errors, tooLarge) {
		f.repair(row)
		return
	}
	f.hub.Publish(row, c.Type == "UPDATE")
}

// noteChange notes how far the channel is. It returns the time of the commit, zero where it was withheld.
func (s *socket) noteChange(c realtime.Change) (commit time.Time) {
	f, now := s.feed, time.Now()
	commit, err := time.Parse(time.RFC3339Nano, c.CommitTimestamp)
	if err != nil {
		commit = time.Time{} // withheld changes have none
	}
	f.missing.note(now, commit)
	if err == nil && f.opts.Store.Now().Sub(commit) < freshFor {
		s.freshAt.Store(now.UnixNano())
		if f.doubted.Load() {
			f.signal()
		}
	}
	return commit
}

func refused(errs []string) bool {
	return slices.ContainsFunc(errs, func(s string) bool {
		return strings.HasPrefix(s, "Error 401") || strings.HasPrefix(s, "Error 400")
	})
}

func tooLarge(s string) bool { return strings.HasPrefix(s, "Error 413") }
