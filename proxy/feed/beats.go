package feed

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// onStatus follows the canary's channel of a socket. A beat counts for one confirmation of it only.
func (c *canary) onStatus(s *socket, status realtime.Status) {
	if status.State == realtime.StateLive {
		s.canaryRound.Store(c.rounds.Add(1))
		return
	}
	s.canaryRound.Store(0)
	_, join := errors.AsType[*realtime.JoinError](status.Err)
	_, subscribe := errors.AsType[*realtime.SubscribeError](status.Err)
	switch {
	case realtime.NotPublished(status.Err):
		c.tell("the canary table is not there or not published: no canary on this socket", "remedy", c.sql())
	case join, subscribe && realtime.IsConfiguration(status.Err):
		c.tell("realtime refuses the canary: none on this socket", "err", status.Err, "remedy", c.sql())
	}
}

// onChange takes the node's own row, if it comes over the current socket.
func (c *canary) onChange(s *socket, change realtime.Change) {
	if c.feed.current.Load() != s || change.Type == "DELETE" {
		return
	}
	text, ok := chat.ScanString(change.Record, "beat")
	at, err := time.Parse(time.RFC3339Nano, text)
	if !ok || err != nil {
		s.canaryRound.Store(0)
		c.tell("realtime withholds the canary row: no canary on this socket", "errors", change.Errors, "remedy", c.sql())
		return
	}
	c.mu.Lock()
	c.heard = later(c.heard, at)
	c.awaited = slices.DeleteFunc(c.awaited, func(b beat) bool { return b.at.Equal(at) })
	works := c.said != ""
	c.said = ""
	c.mu.Unlock()
	if works {
		c.feed.log.Info("the canary works now")
	}
}

// verdict judges the oldest beat that the current socket should have brought for beatLate, and then forgets them all: they have told
// their story. The event is evSkipped when something later has come over the socket. Before the first beat that was ever brought, missing
// ones speak against the table.
func (c *canary) verdict(now time.Time, current *socket) (e event, against bool) {
	if c == nil {
		return 0, false
	}
	late, skipped, proved := c.judge(now, current)
	switch {
	case !late:
		return 0, false
	case !proved:
		c.tell("canary beats are written and do not come", "remedy", c.sql())
		return 0, false
	case skipped:
		return evSkipped, true
	}
	return evCanaryLate, true
}

func (c *canary) judge(now time.Time, current *socket) (late, skipped, proved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	round := current.canaryRound.Load()
	c.awaited = slices.DeleteFunc(c.awaited, func(b beat) bool { return b.round != round })
	if len(c.awaited) == 0 || now.Sub(c.awaited[0].written) < beatLate {
		return false, false, false
	}
	oldest := c.awaited[0]
	behind, passed := c.feed.missing.compare(now, oldest.written, oldest.database)
	if behind {
		return false, false, false
	}
	c.awaited = nil
	return true, passed || c.heard.After(oldest.at), !c.heard.IsZero()
}

// reset forgets what is awaited: the channels have become live, and what was written before may be lost.
func (c *canary) reset() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = nil
}

// tell says why there is no canary, once until there is one or another reason.
func (c *canary) tell(why string, attributes ...any) {
	c.mu.Lock()
	again := c.said == why
	c.said = why
	c.mu.Unlock()
	if !again {
		c.feed.log.Warn(why, append([]any{"table", c.feed.opts.Tables.Canary}, attributes...)...)
	}
}

// sql makes and publishes the table.
func (c *canary) sql() string {
	t := c.feed.opts.Tables
	name := quoteIdent(t.Schema) + "." + quoteIdent(t.Canary)
	return strings.Join([]string{
		"create table if not exists " + name + " (id uuid primary key, beat timestamptz not null);",
		"alter table " + name + " replica identity default;",
		"alter table " + name + " enable row level security;",
		"revoke all on " + name + " from public, anon, authenticated;",
		"grant select, insert, update, delete on " + name + " to service_role;",
		publishSQL(t.Schema, t.Canary),
	}, " ")
}
