package config

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An API key of Supabase is a JWT with the claims role and exp, or an opaque key with one of two prefixes that the
// gateway swaps for a JWT.
const (
	secretPrefix      = "sb_secret_"
	publishablePrefix = "sb_publishable_"
)

const (
	roleAnon    = "anon"
	roleService = "service_role"
)

var opaqueKey = regexp.MustCompile(`^sb_(secret|publishable)_[A-Za-z0-9_-]{8,256}$`)

func (s Secret) opaque() bool { return strings.HasPrefix(string(s), "sb_") }

// role returns the database role that a key stands for. A JWT is only decoded: whether its signature holds is for
// Supabase to say.
func (s Secret) role(now time.Time) (string, error) {
	if s.opaque() {
		return s.opaqueRole()
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(string(s), claims); err != nil {
		return "", errors.New("is neither a JWT nor an sb_ key; Realtime needs one of the two")
	}
	role, ok := claims["role"].(string)
	if !ok || role == "" {
		return "", errors.New("is a JWT without the claim role; Realtime refuses it")
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return "", errors.New("is a JWT without the claim exp; Realtime refuses it")
	}
	if !now.Before(expires.Time) {
		return "", errors.New("is a JWT that expired on " + expires.UTC().Format(time.DateOnly))
	}
	return role, nil
}

func (s Secret) opaqueRole() (string, error) {
	if !opaqueKey.MatchString(string(s)) {
		return "", errors.New("starts with sb_ but is no complete sb_secret_ or sb_publishable_ key")
	}
	if strings.HasPrefix(string(s), publishablePrefix) {
		return roleAnon, nil
	}
	return roleService, nil
}

// SocketMaxAge returns how long one Realtime socket may live: the configured age, or, where that is 0, 20 h for an
// opaque key, whose sockets Supabase cuts after 24 h, and 0 (no limit) for a JWT.
func (c *Config) SocketMaxAge() time.Duration {
	if c.Feed.SocketMaxAge != 0 || !c.Supabase.ServiceRoleKey.opaque() {
		return c.Feed.SocketMaxAge
	}
	return opaqueSocketAge
}

const opaqueSocketAge = 20 * time.Hour

func (v *validator) serviceKey() {
	key := v.Supabase.ServiceRoleKey
	if key == "" {
		if !v.options.WithoutKey && !v.options.Dev {
			v.add(keyService, "is missing: set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key that "+
				"`supabase status -o env` prints for a local project and the API settings of the dashboard show for a hosted one")
		}
		return
	}
	role, err := key.role(time.Now())
	switch {
	case err != nil:
		v.add(keyService, "%s", err)
	case role == roleAnon:
		v.add(keyService, "is the anon or publishable key, which can read no messages; the service_role or secret key belongs here")
	case role == "authenticated":
		v.add(keyService, "is a signed-in user's token; the service_role or secret key belongs here")
	}
}

func (v *validator) anonKey() {
	key := v.Supabase.AnonKey
	if key == "" {
		return
	}
	role, err := key.role(time.Now())
	switch {
	case err != nil:
		v.add(keyAnon, "%s", err)
	case role != roleAnon:
		v.add(keyAnon, "is not the anon or publishable key; a key with more rights must not stand here")
	}
}
