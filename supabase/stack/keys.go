package stack

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTSecret is the well-known secret of local Supabase projects.
const JWTSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

const keyLife = 10 * 365 * 24 * time.Hour

// Token signs a JWT of a role with JWTSecret: anon, authenticated or service_role. subject is the id of a signed-in user
// or "".
func Token(role, subject string) (string, error) {
	now := time.Now()
	claims := jwt.MapClaims{"role": role, "iss": "supabase-demo", "iat": now.Unix(), "exp": now.Add(keyLife).Unix()}
	if subject != "" {
		claims["sub"] = subject
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(JWTSecret))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}
