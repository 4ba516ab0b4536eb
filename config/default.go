package config

import (
	"net/netip"
	"time"
)

// Default returns the settings in force where no source says otherwise. It lacks the service key, which has none.
func Default() Config {
	return Config{
		Listen:         ":8080",
		TrustedProxies: []netip.Prefix{},
		SigningKeys:    []Secret{},
		Admin:          Admin{Listen: "127.0.0.1:8081"},
		Log:            Log{Level: "info", Format: "auto"},
		Supabase: Supabase{
			URL:                "http://127.0.0.1:54321",
			RealtimeVersion:    "2.0.0",
			RequestTimeout:     10 * time.Second,
			FunctionTimeout:    150 * time.Second,
			AuthorizePerSecond: 20,
		},
		Names: Names{
			Schema:               "public",
			Messages:             "chat_messages_v2",
			Sessions:             "temporary_chat_sessions",
			Links:                "temporary_chat_links",
			ConversationSessions: "conversation_sessions",
			Agents:               "agents",
			ValidateSession:      "validate_temp_chat_session",
			Columns:              []Column{},
		},
		Chat: Chat{
			Visibility:       VisibilitySession,
			SendVia:          SendViaFunction,
			Overlap:          2 * time.Minute,
			HistoryMax:       200,
			MessageMaxLength: 4000,
		},
		Feed: Feed{
			PollAfter:         2 * time.Second,
			PollInterval:      2 * time.Second,
			ReconcileInterval: 2500 * time.Millisecond,
			CatchUpOverlap:    5 * time.Minute,
			Heartbeat:         25 * time.Second,
			UnpublishedRetry:  time.Minute,
		},
		Session: Session{
			CachePositive:        time.Minute,
			CacheNegative:        10 * time.Second,
			RecheckInterval:      15 * time.Second,
			ConfirmWithin:        time.Minute,
			TicketLife:           2 * time.Minute,
			AuthorizeConcurrency: 8,
		},
		Resume: Resume{Window: 2 * time.Minute, WindowEvents: 500, WindowBytes: 1 << 20},
		Limits: defaultLimits(),
		Stream: Stream{MaxAge: 2 * time.Hour, KeepAlive: 25 * time.Second, Retry: 2 * time.Second},
		CORS: CORS{AllowedOrigins: []string{
			"http://localhost:5173", "http://127.0.0.1:5173", "http://localhost:3000", "http://127.0.0.1:3000",
		}},
		Drain: Drain{Period: 10 * time.Second, Max: 150 * time.Second},
	}
}

func defaultLimits() Limits {
	return Limits{
		ConnectionsPerSession:   5,
		ConnectionsPerAddress:   50,
		Connections:             20_000,
		NewConnectionsPerSecond: 2000,
		WaitingConnections:      10_000,
		MessagesPerMinute:       10,
		FailedTokensPerMinute:   20,
		FramesPerSecond:         100,
		BroadcastsPerSecond:     25,
		CallsPerSecond:          20,
		FrameBytes:              16 << 10,
		RealtimeFrameBytes:      64 << 10,
		BodyBytes:               64 << 10,
		QueueBytes:              256 << 10,
		QueueEvents:             1000,
		HeaderBytes:             32 << 10,
		HeaderTimeout:           10 * time.Second,
		AuthenticateTimeout:     10 * time.Second,
		WriteTimeout:            10 * time.Second,
	}
}
