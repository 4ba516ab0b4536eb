package transport

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// frontKeyKind says what a text in the place of a key is.
type frontKeyKind uint8

const (
	frontKeyNone    frontKeyKind = iota
	frontKeyPublic               // the project's key or a signed-in user's: it proves no session
	frontKeyService              // a key that reads everything
	frontKeySession              // a session token or a ticket, for the authoriser to tell
)

// frontKey is what a client brought as apikey or access_token.
type frontKey struct {
	kind       frontKeyKind
	credential chat.Token
}

// classify tells what a text in the place of a key is, without a look at the database.
func (s *Server) classify(text string) frontKey {
	text = strings.TrimSpace(text)
	key := frontKey{frontKeySession, chat.Token(text)}
	switch {
	case text == "":
		key.kind = frontKeyNone
	case equalKeys(key.credential, s.opts.ServiceKey) || strings.HasPrefix(text, "sb_secret_"):
		key = frontKey{kind: frontKeyService}
	case equalKeys(key.credential, s.opts.AnonKey) || strings.HasPrefix(text, "sb_"):
		key.kind = frontKeyPublic
	case strings.HasPrefix(text, ticketPrefix):
	default:
		switch role, isJWT := roleOf(text); {
		case role == "service_role" || role == "supabase_admin" || role == "postgres":
			key = frontKey{kind: frontKeyService}
		case isJWT:
			key.kind = frontKeyPublic
		}
	}
	return key
}

func equalKeys(text, key chat.Token) bool {
	return key != "" && subtle.ConstantTimeCompare([]byte(text.Reveal()), []byte(key.Reveal())) == 1
}

// roleOf reads the role claim of a JWT. The signature is not checked: only whether it may be a key that is not to be here.
func roleOf(text string) (role string, isJWT bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	claims, ok := parseFields(raw)
	if err != nil || !ok {
		return "", false
	}
	role, _ = claims.text("role")
	return role, true
}

// asCredential is what the authoriser takes. cursor may vouch for a ticket.
func (k frontKey) asCredential(cursor string) chat.Credential {
	if strings.HasPrefix(k.credential.Reveal(), ticketPrefix) {
		return chat.Credential{Ticket: k.credential, Cursor: cursor}
	}
	return chat.Credential{Token: k.credential}
}

// tokenField reads a token of a join or a push; anything but a string is none.
func tokenField(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// warningPeriod is how often the same warning may be logged.
const warningPeriod = time.Minute

// warning is a line that many could provoke.
type warning struct {
	mu   sync.Mutex
	next time.Time
}

func (w *warning) due(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.next) {
		return false
	}
	w.next = now.Add(warningPeriod)
	return true
}

// warnOfServiceKey tells the operator that somebody outside holds a key that reads everything.
func (s *Server) warnOfServiceKey(from caller) {
	if s.front.warned.due(time.Now()) {
		s.log.LogAttrs(s.base, slog.LevelWarn,
			"a visitor presented a service key: whoever has it can read and change everything, so revoke it",
			slog.String("origin", from.origin), slog.String("host", from.host))
	}
}
