package main

import (
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/agentopia/realtime-proxy/config"
	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// proxyOptions turns a loaded configuration into the server's options.
func proxyOptions(c *config.Config, visitors, operator net.Listener, log *slog.Logger) (proxy.Options, error) {
	version, err := phoenix.ParseVersion(c.Supabase.RealtimeVersion)
	if err != nil {
		return proxy.Options{}, err
	}
	mode := chat.ModeSession
	if c.Chat.Visibility == config.VisibilityConversation {
		mode = chat.ModeConversation
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	keys := make([][]byte, len(c.SigningKeys))
	for i, k := range c.SigningKeys {
		keys[i] = []byte(k.Reveal())
	}
	names := restNames(c.Names)
	names.Canary = c.Feed.CanaryTable
	return proxy.Options{
		Supabase: proxy.Supabase{
			URL: c.Supabase.URL, ServiceRoleKey: c.Supabase.ServiceRoleKey.Reveal(), AnonKey: c.Supabase.AnonKey.Reveal(),
			RealtimeVersion: version, RequestTimeout: c.Supabase.RequestTimeout, FunctionTimeout: c.Supabase.FunctionTimeout,
			AuthorizePerSecond: c.Supabase.AuthorizePerSecond,
		},
		Names:          names,
		Rule:           chat.Rule{Mode: mode, TrustSenders: c.Chat.TrustSenders},
		SendVia:        c.Chat.SendVia,
		SigningKeys:    keys,
		Listener:       visitors,
		AdminListener:  operator,
		PProf:          c.Admin.PProf,
		Pages:          c.Chat.Page,
		AllowedOrigins: c.CORS.AllowedOrigins,
		TrustedProxies: c.TrustedProxies,
		Feed: proxy.FeedTiming{
			Overlap: c.Chat.Overlap, PollAfter: c.Feed.PollAfter, PollInterval: c.Feed.PollInterval,
			ReconcileInterval: c.Feed.ReconcileInterval, CatchUpOverlap: c.Feed.CatchUpOverlap,
			Heartbeat: c.Feed.Heartbeat, SocketMaxAge: c.SocketMaxAge(), UnpublishedRetry: c.Feed.UnpublishedRetry,
		},
		Session: proxy.SessionTiming{
			CachePositive: c.Session.CachePositive, CacheNegative: c.Session.CacheNegative,
			RecheckInterval: c.Session.RecheckInterval, ConfirmWithin: c.Session.ConfirmWithin,
			TicketLife: c.Session.TicketLife, AuthorizeConcurrency: c.Session.AuthorizeConcurrency,
		},
		Resume:   proxy.Resume{Window: c.Resume.Window, WindowEvents: c.Resume.WindowEvents, WindowBytes: c.Resume.WindowBytes},
		Limits:   proxyLimits(c),
		Stream:   proxy.Stream{MaxAge: c.Stream.MaxAge, KeepAlive: c.Stream.KeepAlive, Retry: c.Stream.Retry},
		Drain:    proxy.Drain{Period: c.Drain.Period, Max: c.Drain.Max},
		Registry: registry,
		Logger:   log,
	}, nil
}

func proxyLimits(c *config.Config) proxy.Limits {
	l := c.Limits
	return proxy.Limits{
		ConnectionsPerSession: l.ConnectionsPerSession, ConnectionsPerAddress: l.ConnectionsPerAddress,
		Connections: l.Connections, NewConnectionsPerSecond: l.NewConnectionsPerSecond, WaitingConnections: l.WaitingConnections,
		MessagesPerMinute: l.MessagesPerMinute, FailedTokensPerMinute: l.FailedTokensPerMinute,
		FramesPerSecond: l.FramesPerSecond, BroadcastsPerSecond: l.BroadcastsPerSecond, CallsPerSecond: l.CallsPerSecond,
		FrameBytes: l.FrameBytes, RealtimeFrameBytes: l.RealtimeFrameBytes, BodyBytes: l.BodyBytes,
		QueueBytes: l.QueueBytes, QueueEvents: l.QueueEvents,
		HeaderBytes: l.HeaderBytes, MessageMaxLength: c.Chat.MessageMaxLength, HistoryMax: c.Chat.HistoryMax,
		HeaderTimeout: l.HeaderTimeout, AuthenticateTimeout: l.AuthenticateTimeout, WriteTimeout: l.WriteTimeout,
	}
}

func restNames(n config.Names) rest.Names {
	table := func(name, key string) rest.Table { return rest.Table{Name: name, Columns: n.Renames(key)} }
	return rest.Names{
		Schema:               n.Schema,
		Messages:             table(n.Messages, "messages"),
		Sessions:             table(n.Sessions, "sessions"),
		Links:                table(n.Links, "links"),
		ConversationSessions: table(n.ConversationSessions, "conversation_sessions"),
		Agents:               table(n.Agents, "agents"),
		ValidateSession:      n.ValidateSession,
	}
}
