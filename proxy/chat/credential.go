package chat

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Token is a session token. It shows itself to nobody: logs, errors and JSON get a placeholder.
type Token string

const redacted = "[redacted]"

// String hides the token.
func (t Token) String() string { return redacted }

// GoString hides the token.
func (t Token) GoString() string { return redacted }

// LogValue hides the token.
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the token.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the token itself, to send it where it belongs.
func (t Token) Reveal() string { return string(t) }

// WellFormed reports whether the token has the form of those of sessions and links: 16 to 512 letters, digits, '_' and '-' of ASCII. Real
// ones have 63 and 94.
func (t Token) WellFormed() bool {
	if len(t) < 16 || len(t) > 512 {
		return false
	}
	for i := range len(t) {
		if c := t[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// Credential is what a visitor brings to prove a session: a token or a ticket.
type Credential struct {
	Token  Token
	Ticket Token
	// Cursor may vouch for a ticket whose first use is over: browsers repeat the URL of an event stream.
	Cursor string
	// Address is where the visitor comes from, for limits.
	Address netip.Addr
	// Try (may be nil) is asked before a token is judged that proved nothing here before.
	Try Try
}

// Try is one of the tries that an address has to prove something by a token that is not known. The one who has the token judged
// begins and settles it.
type Try interface {
	// Begin waits for its place among the tries of the address. After an error, a *Refusal or ctx's, there is nothing to settle.
	Begin(ctx context.Context) error
	// Settle says once what came of it: whether the token proved nothing. It does not block.
	Settle(failed bool)
}

// Neighbourhood is what counts as one address: an IPv4 address or an IPv6 /64, which one customer holds whole. All credentials
// without an IP address share the zero Prefix.
func (c Credential) Neighbourhood() netip.Prefix { return Neighbourhood(c.Address) }

// Neighbourhood is that of an address.
func Neighbourhood(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Grant is an accepted credential.
type Grant struct {
	Visitor *Visitor
	// Token is the session token, for calls made in the visitor's name.
	Token Token
	// Ticket is a fresh resume ticket for this session.
	Ticket Token
	// TicketExpires is its end, in the proxy's clock.
	TicketExpires time.Time
}

// Refusal is the answer to a request that is not granted: what the visitor may know. The cause is logged, never sent.
type Refusal struct {
	Status     int // HTTP status
	Code       string
	Message    string
	RetryAfter time.Duration // 0 when waiting does not help
	Disconnect *Disconnect   // how a WebSocket is closed for it
	Cause      error
	// Quiet says that a limit does its work: a crowd may bring this about at will, so it is no news for the log.
	Quiet bool
}

// Error names the code and the cause, for logs.
func (r *Refusal) Error() string {
	if r.Cause == nil {
		return r.Code
	}
	return r.Code + ": " + r.Cause.Error()
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// RefuseInvalid says that the credential proves no session, or one that cannot be told from none.
func RefuseInvalid(cause error) *Refusal {
	return &Refusal{Status: 401, Code: "invalid_session", Message: "Invalid or expired session", Disconnect: InvalidSession, Cause: cause}
}

// RefuseEnded says that the session was real and is over.
func RefuseEnded(cause error) *Refusal {
	return &Refusal{Status: 410, Code: "session_ended", Message: "The session has ended", Disconnect: SessionEnded, Cause: cause}
}

// RefuseUnavailable says that it cannot be known now: never an answer about the session.
func RefuseUnavailable(retryAfter time.Duration, cause error) *Refusal {
	return &Refusal{
		Status: 503, Code: "upstream_unavailable", Message: "The service is temporarily unavailable",
		RetryAfter: retryAfter, Disconnect: Unavailable, Cause: cause,
	}
}

// RefuseLimit says that a limit was reached.
func RefuseLimit(code, message string, retryAfter time.Duration) *Refusal {
	return &Refusal{Status: 429, Code: code, Message: message, RetryAfter: retryAfter, Disconnect: LimitReached}
}
