package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/agentopia/realtime-proxy/config"
)

const secretText = "swordfish"

func TestSecretIsRedactedWhereverItIsPrinted(t *testing.T) {
	secret := config.Secret(secretText)
	whole := config.Default()
	whole.Supabase.ServiceRoleKey = secret
	whole.SigningKeys = []config.Secret{secret}

	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%f", "%c", "%U", "%20s", "%.3s"} {
		for _, value := range []any{secret, &secret, whole, &whole, whole.SigningKeys, map[config.Secret]config.Secret{secret: secret}} {
			fmt.Fprintf(&printed, verb+"\n", value)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
		slog.New(handler).Info("loaded", "key", secret, "config", whole)
	}
	for _, value := range []any{secret, whole, map[string]config.Secret{"key": secret}} {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		printed.Write(text)
	}
	text, err := secret.MarshalText()
	require.NoError(t, err)
	printed.Write(text)
	text, err = yaml.Marshal(whole)
	require.NoError(t, err)
	printed.Write(text)

	for _, leak := range []string{secretText, secretText[:3], fmt.Sprintf("%x", secretText), fmt.Sprintf("%X", secretText)} {
		before, _, found := strings.Cut(printed.String(), leak)
		assert.False(t, found, "after %q", before[max(0, len(before)-60):])
	}
	assert.Equal(t, secretText, secret.Reveal())
}

func TestSecretShowsWhetherItIsSet(t *testing.T) {
	assert.Equal(t, "[redacted]", fmt.Sprint(config.Secret(secretText)))
	assert.Equal(t, `"[redacted]"`, fmt.Sprintf("%#v", config.Secret(secretText)))
	assert.Empty(t, fmt.Sprint(config.Secret("")))
	text, err := json.Marshal(config.Secret(""))
	require.NoError(t, err)
	assert.JSONEq(t, `""`, string(text))
}
