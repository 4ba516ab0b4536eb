package chat

// Disconnect is a way in which the proxy ends a visitor's stream: the code for machines, the WebSocket close code, and whether
// coming back (with the cursor) makes sense. It serves the log, the metrics and the wire alike.
type Disconnect struct {
	Code      string
	Close     int // WebSocket close code
	Message   string
	Reconnect bool
}

// Error makes a Disconnect usable as the cause of a stream's end.
func (d *Disconnect) Error() string { return d.Message }

// The ways to lose a stream.
var (
	BadMessage          = &Disconnect{"bad_message", 4400, "The message could not be understood", false}
	InvalidSession      = &Disconnect{"invalid_session", 4401, "Invalid session", false}
	AuthenticateTimeout = &Disconnect{"authentication_timeout", 4408, "Authentication timed out", false}
	SessionEnded        = &Disconnect{"session_ended", 4410, "The session has ended", false}
	LimitReached        = &Disconnect{"limit_reached", 4429, "Too many connections or messages", true}
	Unavailable         = &Disconnect{"upstream_unavailable", 4503, "The service is temporarily unavailable", true}
	Restart             = &Disconnect{"restart", 1012, "The service is restarting", true}
	SlowConsumer        = &Disconnect{"slow_consumer", 1013, "The connection is too slow", true}
	SessionChanged      = &Disconnect{"session_changed", 1012, "The session has changed, come back", true}
	MaxAge              = &Disconnect{"max_age", 1012, "The stream has reached its greatest age", true}
	Gone                = &Disconnect{"gone", 1001, "The visitor went away", true}
	TooBig              = &Disconnect{"too_big", 1009, "The message is too big", false}
)

// Disconnects lists every Disconnect once, for metrics and docs.
func Disconnects() []*Disconnect {
	return []*Disconnect{
		BadMessage, InvalidSession, AuthenticateTimeout, SessionEnded, LimitReached, Unavailable, Restart, SlowConsumer,
		SessionChanged, MaxAge, Gone, TooBig,
	}
}
