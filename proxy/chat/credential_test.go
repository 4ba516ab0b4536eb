package chat_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestTokensHaveOneForm(t *testing.T) {
	form := regexp.MustCompile(`\A[A-Za-z0-9_-]{16,512}\z`)
	for name, token := range map[string]string{
		"empty":           "",
		"shortest":        strings.Repeat("a", 16),
		"too short":       strings.Repeat("a", 15),
		"longest":         strings.Repeat("Z", 512),
		"too long":        strings.Repeat("Z", 513),
		"line break last": strings.Repeat("a", 20) + "\n",
		"not ASCII":       strings.Repeat("a", 20) + "é",
		"zero byte":       strings.Repeat("a", 20) + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, form.MatchString(token), chat.Token(token).WellFormed())
		})
	}
	t.Run("every byte", func(t *testing.T) {
		for b := range 256 {
			token := strings.Repeat("a", 20) + string([]byte{byte(b)})
			assert.Equal(t, form.MatchString(token), chat.Token(token).WellFormed(), "%q", token)
		}
	})
}
