package standin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Roles of API keys.
const (
	roleService = "service_role"
	roleAnon    = "anon"
	roleUser    = "authenticated"
)

// DefaultJWTSecret signs the keys of every local Supabase stack; it is public knowledge.
const DefaultJWTSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

// keyring knows the two API keys and the secret behind them. Immutable.
type keyring struct {
	service, anon string
	secret        []byte
	now           func() time.Time
}

// tokenError says why a token was refused, with the prefix that Realtime uses in join errors.
type tokenError struct {
	code    string // InvalidJWTToken, MalformedJWT, JwtSignatureError, JwtSignerError
	text    string
	expired bool
	update  string // text on an access_token push, where it differs
}

func (e *tokenError) Error() string { return e.text }

// claims is what the server reads of a token.
type claims struct {
	role    string
	expires time.Time // zero for an opaque key
}

func newKeyring(o Options) (*keyring, error) {
	k := &keyring{service: o.ServiceKey, anon: o.AnonKey, secret: []byte(o.JWTSecret), now: o.Now}
	if o.JWTSecret == "" {
		k.secret = []byte(DefaultJWTSecret)
	}
	for _, key := range []struct {
		value *string
		role  string
	}{{&k.service, roleService}, {&k.anon, roleAnon}} {
		if *key.value != "" {
			continue
		}
		token, err := k.sign(key.role, o.Now().Add(10*365*24*time.Hour))
		if err != nil {
			return nil, err
		}
		*key.value = token
	}
	if k.service == k.anon {
		return nil, errors.New("service key and anon key are the same")
	}
	return k, nil
}

func (k *keyring) sign(role string, expires time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"role": role, "iss": "supabase-demo", "iat": k.now().Unix(), "exp": expires.Unix(),
	})
	signed, err := token.SignedString(k.secret)
	if err != nil {
		return "", fmt.Errorf("sign %s key: %w", role, err)
	}
	return signed, nil
}

// verify reads an API key as the gateway and Realtime together do: the two configured keys are always good, anything else
// must be a JWT signed with the secret, with role and an exp in the future.
func (k *keyring) verify(token string) (claims, error) {
	if c, ok := k.known(token); ok {
		return c, nil
	}
	var fields jwt.MapClaims
	parser := jwt.NewParser(jwt.WithoutClaimsValidation())
	parsed, _, err := parser.ParseUnverified(token, &fields)
	if err != nil {
		return claims{}, &tokenError{code: "MalformedJWT", text: "The token provided is not a valid JWT"}
	}
	if !strings.HasPrefix(parsed.Method.Alg(), "HS") {
		return claims{}, &tokenError{code: "JwtSignerError",
			text: "Failed to generate JWT signer, check your JWT secret or JWKS configuration"}
	}
	signingInput := token[:strings.LastIndexByte(token, '.')]
	if parsed.Method.Verify(signingInput, parsed.Signature, k.secret) != nil {
		return claims{}, &tokenError{code: "JwtSignatureError", text: "Failed to validate JWT signature", update: ":signature_error"}
	}
	role, _ := fields["role"].(string)
	expires, err := fields.GetExpirationTime()
	if role == "" || err != nil || expires == nil {
		return claims{}, &tokenError{code: "InvalidJWTToken", text: "Fields `role` and `exp` are required in JWT"}
	}
	c := claims{role: role, expires: expires.Time}
	return c, k.fresh(c)
}

// fresh returns the error of an expired token.
func (k *keyring) fresh(c claims) error {
	if c.expires.IsZero() || k.now().Before(c.expires) {
		return nil
	}
	ago := int(k.now().Sub(c.expires).Seconds())
	return &tokenError{code: "InvalidJWTToken", expired: true, text: fmt.Sprintf("Token has expired %d seconds ago", ago)}
}

func (k *keyring) known(token string) (claims, bool) {
	switch token {
	case k.service:
		return claims{role: roleService}, true
	case k.anon:
		return claims{role: roleAnon}, true
	}
	return claims{}, false
}
