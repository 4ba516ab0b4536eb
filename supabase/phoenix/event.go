package phoenix

import realtimego "github.com/supabase-community/realtime-go/realtime"

// TopicPhoenix is the topic of the socket itself; heartbeats go to it.
const TopicPhoenix = "phoenix"

// TopicPrefix begins every channel topic that Supabase Realtime serves.
const TopicPrefix = "realtime:"

// Event names shared with the realtime-go library.
const (
	EventJoin            = realtimego.JOIN_EVENT
	EventReply           = realtimego.REPLY_EVENT
	EventPostgresChanges = realtimego.POSTGRES_CHANGE_EVENT
	EventBroadcast       = realtimego.BROADCAST_EVENT
	EventPresenceState   = realtimego.PRESENCE_STATE_EVENT
	EventPresenceDiff    = realtimego.PRESENCE_DIFF_EVENT
	EventSystem          = realtimego.SYS_EVENT
	EventHeartbeat       = realtimego.HEARTBEAT_EVENT
	EventAccessToken     = realtimego.ACCESS_TOKEN_EVENT
)

// Event names that realtime-go lacks.
const (
	EventLeave    = "phx_leave"
	EventClose    = "phx_close"
	EventError    = "phx_error"
	EventPresence = "presence" // pushed by clients: track and untrack
)
