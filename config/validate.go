package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// validator checks every value of a decoded Config. Keys whose value could not be decoded are left out.
type validator struct {
	*Config
	*problems
	options LoadOptions
}

func (v *validator) run() {
	v.addresses()
	v.signingKeys()
	v.oneOf("log.level", v.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", v.Log.Format, "auto", "text", "json")
	v.supabase()
	v.names()
	v.chat()
	v.feed()
	v.session()
	v.limits()
	v.streams()
	v.origins()
}

func (v *validator) addresses() {
	v.listen("listen", v.Listen)
	v.listen("admin.listen", v.Admin.Listen)
	if samePort(v.Listen, v.Admin.Listen) {
		v.add("admin.listen", "is the address of the visitor port; the two need different ports")
	}
}

// minSigningKey is in bytes: HMAC-SHA256 gains nothing from longer keys and loses strength with shorter ones.
const minSigningKey = 32

func (v *validator) signingKeys() {
	for i, key := range v.SigningKeys {
		path := fmt.Sprintf("signing_keys[%d]", i)
		switch {
		case v.has(path):
		case len(key) < minSigningKey:
			v.add(path, "needs at least %d characters", minSigningKey)
		case slices.Contains(v.SigningKeys[:i], key):
			v.add(path, "is listed twice")
		}
	}
}

func (v *validator) supabase() {
	s := v.Supabase
	v.baseURL(keyURL, s.URL)
	if strings.HasSuffix(s.URL, "/v1") {
		v.add(keyURL, "is the URL of one service; the base URL of the project belongs here, without a path such as /rest/v1")
	}
	if !v.has(keyService) {
		v.serviceKey()
	}
	if !v.has(keyAnon) {
		v.anonKey()
	}
	v.oneOf("supabase.realtime_version", s.RealtimeVersion, "1.0.0", "2.0.0")
	v.between("supabase.request_timeout", s.RequestTimeout, time.Second, 2*time.Minute)
	v.between("supabase.function_timeout", s.FunctionTimeout, time.Second, 10*time.Minute)
	v.within("supabase.authorize_per_second", s.AuthorizePerSecond, 1, 1000)
}

// PostgreSQL cuts identifiers at 63 bytes.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

var renamedTables = []string{"messages", "sessions", "links", "conversation_sessions", "agents"}

func (v *validator) names() {
	n := v.Names
	for _, each := range [][2]string{
		{"names.schema", n.Schema}, {"names.messages", n.Messages}, {"names.sessions", n.Sessions},
		{"names.links", n.Links}, {"names.conversation_sessions", n.ConversationSessions}, {"names.agents", n.Agents},
		{"names.validate_session", n.ValidateSession},
	} {
		v.identifier(each[0], each[1])
	}
	for i, c := range n.Columns {
		path := fmt.Sprintf("names.columns[%d]", i)
		if v.has(path) {
			continue
		}
		v.oneOf(path+".table", c.Table, renamedTables...)
		v.identifier(path+".column", c.Column)
		v.identifier(path+".name", c.Name)
		if slices.ContainsFunc(n.Columns[:i], func(o Column) bool { return o.Table == c.Table && o.Column == c.Column }) {
			v.add(path, "renames a column that an earlier entry renames")
		}
	}
}

func (v *validator) identifier(key, name string) {
	if !v.has(key) && !identifier.MatchString(name) {
		v.add(key, "needs a plain SQL name: letters, digits and underscores, at most 63, not starting with a digit")
	}
}

func (v *validator) oneOf(key, value string, allowed ...string) {
	if v.has(key) || slices.Contains(allowed, value) {
		return
	}
	last := len(allowed) - 1
	v.add(key, "needs one of %s or %s", strings.Join(allowed[:last], ", "), allowed[last])
}

func (v *validator) within(key string, value, least, most int) {
	if !v.has(key) && (value < least || value > most) {
		v.add(key, "is %d, needs to be from %d to %d", value, least, most)
	}
}

func (v *validator) between(key string, value, least, most time.Duration) {
	if !v.has(key) && (value < least || value > most) {
		v.add(key, "is %s, needs to be from %s to %s", short(value), short(least), short(most))
	}
}

// short writes a duration without its empty units, 2m instead of 2m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// atLeast checks a value against the one it builds on, where both are good by themselves.
func (v *validator) atLeast(key string, value time.Duration, otherKey string, other time.Duration) {
	if !v.has(key) && !v.has(otherKey) && value < other {
		v.add(key, "is %s, needs to be at least %s (%s)", short(value), otherKey, short(other))
	}
}
