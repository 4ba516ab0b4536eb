package config

import (
	"slices"
	"time"
)

func (v *validator) chat() {
	c := v.Chat
	v.oneOf("chat.visibility", c.Visibility, VisibilitySession, VisibilityConversation)
	v.oneOf("chat.send_via", c.SendVia, SendViaFunction, SendViaInsert)
	v.between("chat.overlap", c.Overlap, time.Second, time.Hour)
	v.within("chat.history_max", c.HistoryMax, 0, 1000)
	v.within("chat.message_max_length", c.MessageMaxLength, 1, 100_000)
}

func (v *validator) feed() {
	f := v.Feed
	v.between("feed.poll_after", f.PollAfter, 100*time.Millisecond, 5*time.Minute)
	v.between("feed.poll_interval", f.PollInterval, 100*time.Millisecond, 5*time.Minute)
	v.between("feed.reconcile_interval", f.ReconcileInterval, 250*time.Millisecond, 5*time.Minute)
	v.between("feed.catch_up_overlap", f.CatchUpOverlap, 10*time.Second, time.Hour)
	v.atLeast("feed.catch_up_overlap", f.CatchUpOverlap, "chat.overlap", v.Chat.Overlap)
	v.between("feed.heartbeat", f.Heartbeat, time.Second, 25*time.Second)
	v.between("feed.unpublished_retry", f.UnpublishedRetry, 5*time.Second, time.Hour)
	v.socketMaxAge()
	v.canaryTable()
}

func (v *validator) canaryTable() {
	const key = "feed.canary_table"
	name, n := v.Feed.CanaryTable, v.Names
	if name == "" {
		return
	}
	v.identifier(key, name)
	if !v.has(key) && slices.Contains([]string{n.Messages, n.Sessions, n.Links, n.ConversationSessions, n.Agents}, name) {
		v.add(key, "is a table under names; the canary needs one of its own")
	}
}

func (v *validator) socketMaxAge() {
	const key, least, most, opaqueMost = "feed.socket_max_age", time.Minute, 30 * 24 * time.Hour, 23 * time.Hour
	age := v.Feed.SocketMaxAge
	if age == 0 {
		return
	}
	v.between(key, age, least, most)
	if !v.has(key) && v.Supabase.ServiceRoleKey.opaque() && age > opaqueMost {
		v.add(key, "is %s, needs to be at most %s with an sb_secret_ key, whose sockets live 24h", short(age), short(opaqueMost))
	}
}

func (v *validator) session() {
	s := v.Session
	v.between("session.cache_positive", s.CachePositive, time.Second, 10*time.Minute)
	v.between("session.cache_negative", s.CacheNegative, time.Second, 10*time.Minute)
	v.between("session.recheck_interval", s.RecheckInterval, time.Second, 5*time.Minute)
	v.between("session.confirm_within", s.ConfirmWithin, 5*time.Second, time.Hour)
	v.atLeast("session.confirm_within", s.ConfirmWithin, "session.recheck_interval", s.RecheckInterval)
	v.between("session.ticket_life", s.TicketLife, 10*time.Second, time.Hour)
	v.within("session.authorize_concurrency", s.AuthorizeConcurrency, 1, 256)
}

func (v *validator) limits() {
	l := v.Limits
	v.within("limits.connections_per_session", l.ConnectionsPerSession, 1, 10_000)
	v.within("limits.connections_per_address", l.ConnectionsPerAddress, 1, 1_000_000)
	v.within("limits.connections", l.Connections, 1, 1_000_000)
	v.within("limits.new_connections_per_second", l.NewConnectionsPerSecond, 1, 1_000_000)
	v.within("limits.waiting_connections", l.WaitingConnections, 16, 1_000_000)
	v.within("limits.messages_per_minute", l.MessagesPerMinute, 1, 6000)
	v.within("limits.failed_tokens_per_minute", l.FailedTokensPerMinute, 1, 6000)
	v.within("limits.frames_per_second", l.FramesPerSecond, 1, 10_000)
	v.within("limits.broadcasts_per_second", l.BroadcastsPerSecond, 1, 10_000)
	v.within("limits.calls_per_second", l.CallsPerSecond, 1, 10_000)
	v.within("limits.frame_bytes", l.FrameBytes, 1<<10, 1<<20)
	v.within("limits.realtime_frame_bytes", l.RealtimeFrameBytes, 4<<10, 5_000_000)
	v.within("limits.body_bytes", l.BodyBytes, 1<<10, 16<<20)
	v.holdsMessage("limits.frame_bytes", l.FrameBytes)
	v.holdsMessage("limits.body_bytes", l.BodyBytes)
	v.within("limits.queue_bytes", l.QueueBytes, 16<<10, 64<<20)
	v.within("limits.queue_events", l.QueueEvents, 10, 100_000)
	v.within("limits.header_bytes", l.HeaderBytes, 4<<10, 1<<20)
	v.between("limits.header_timeout", l.HeaderTimeout, time.Second, 2*time.Minute)
	v.between("limits.authenticate_timeout", l.AuthenticateTimeout, time.Second, 2*time.Minute)
	v.between("limits.write_timeout", l.WriteTimeout, time.Second, 2*time.Minute)
}

// holdsMessage checks that the longest message fits: UTF-8 needs up to 3 bytes for a UTF-16 unit, and what is around
// the text is given 1 KiB.
func (v *validator) holdsMessage(key string, bytes int) {
	const length = "chat.message_max_length"
	if need := 3*v.Chat.MessageMaxLength + 1<<10; !v.has(key) && !v.has(length) && bytes < need {
		v.add(key, "is %d, needs to be at least %d to hold a message of %s (%d)", bytes, need, length, v.Chat.MessageMaxLength)
	}
}

func (v *validator) streams() {
	v.between("resume.window", v.Resume.Window, time.Second, time.Hour)
	v.within("resume.window_events", v.Resume.WindowEvents, 1, 100_000)
	v.within("resume.window_bytes", v.Resume.WindowBytes, 1<<10, 256<<20)
	v.between("stream.max_age", v.Stream.MaxAge, time.Minute, 24*time.Hour)
	v.between("stream.keep_alive", v.Stream.KeepAlive, time.Second, 5*time.Minute)
	v.between("stream.retry", v.Stream.Retry, 100*time.Millisecond, time.Minute)
	v.between("drain.period", v.Drain.Period, 100*time.Millisecond, 10*time.Minute)
	v.between("drain.max", v.Drain.Max, time.Second, time.Hour)
	v.atLeast("drain.max", v.Drain.Max, "drain.period", v.Drain.Period)
}
