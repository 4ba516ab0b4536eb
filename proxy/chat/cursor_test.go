package chat_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const overlap = 2 * time.Minute

func fullCursor() chat.Cursor {
	c := chat.Cursor{Epoch: 7, Seq: 9, Position: chat.At(start, start.Add(-overlap))}
	for i := range 200 {
		c.Note(name("row", i), start.Add(time.Duration(i)*time.Millisecond), start, overlap)
	}
	return c
}

func TestCursorSurvivesTheRoundTrip(t *testing.T) {
	s := newSigner(t)
	c := chat.Cursor{Epoch: 1<<64 - 1, Seq: 42, Position: chat.At(start, start.Add(-overlap))}
	c.Note("a", start, start, overlap)
	c.Note("b", start.Add(time.Second), start.Add(time.Second), overlap)
	got, err := s.VerifyCursor(s.SignCursor(c, "session s"), "session s")
	require.NoError(t, err)
	assert.Equal(t, c.Epoch, got.Epoch)
	assert.Equal(t, c.Seq, got.Seq)
	assert.Equal(t, c.High(), got.High())
	assert.Equal(t, c.Since(), got.Since())
	assert.Equal(t, "seen", got.Recall("a", start))
	assert.Equal(t, "seen", got.Recall("b", start))
	assert.Equal(t, "new", got.Recall("c", start))
}

func TestCursorFitsItsBoundWhenFull(t *testing.T) {
	s := newSigner(t)
	c := fullCursor()
	require.Equal(t, chat.MaxSeen, c.Seen())
	text := s.SignCursor(c, "session s")
	assert.LessOrEqual(t, len(text), chat.MaxCursorBytes)
	assert.Regexp(t, `^[A-Za-z0-9_-]+$`, text)
	got, err := s.VerifyCursor(text, "session s")
	require.NoError(t, err)
	assert.Equal(t, chat.MaxSeen, got.Seen())
}

func TestCursorOfSomebodyElseIsRefused(t *testing.T) {
	s := newSigner(t)
	good := s.SignCursor(fullCursor(), "session s")
	raw, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	other, err := chat.NewSigner(bytes.Repeat([]byte("x"), 32))
	require.NoError(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	short := encode(raw[:len(raw)-1])
	tests := map[string]string{
		"empty": "", "garbage": "hello", "spaces": " " + good, "padding": good + "=", "cut": good[:len(good)-4], "short": short,
		"head only": encode(raw[:41]), "one seen row less": encode(append(bytes.Clone(raw[:len(raw)-21]), raw[len(raw)-16:]...)),
		"too long": good + strings.Repeat("A", 400), "another key": other.SignCursor(fullCursor(), "session s"),
		"another class": s.SignCursor(fullCursor(), "session t"), "a class with a longer name": s.SignCursor(fullCursor(), "session ss"),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := s.VerifyCursor(text, "session s")
			assert.ErrorIs(t, err, chat.ErrCursor)
		})
	}
	t.Run("any bit changed", func(t *testing.T) {
		for i := range raw {
			forged := bytes.Clone(raw)
			forged[i] ^= 1
			_, err := s.VerifyCursor(encode(forged), "session s")
			require.ErrorIs(t, err, chat.ErrCursor, "byte %d", i)
		}
	})
}

func TestSignerRotatesItsKeys(t *testing.T) {
	older, newer := bytes.Repeat([]byte("o"), 16), bytes.Repeat([]byte("n"), 16)
	signer := func(secrets ...[]byte) *chat.Signer {
		s, err := chat.NewSigner(secrets...)
		require.NoError(t, err)
		return s
	}
	before, both, after := signer(older), signer(newer, older), signer(newer)
	c := fullCursor()
	_, err := both.VerifyCursor(before.SignCursor(c, "k"), "k")
	assert.NoError(t, err, "an older key verifies")
	_, err = after.VerifyCursor(both.SignCursor(c, "k"), "k")
	assert.NoError(t, err, "the first key signs")
	_, err = before.VerifyCursor(both.SignCursor(c, "k"), "k")
	assert.ErrorIs(t, err, chat.ErrCursor)
	_, err = after.VerifyCursor(before.SignCursor(c, "k"), "k")
	assert.ErrorIs(t, err, chat.ErrCursor)
}

func TestSignerWantsRealKeys(t *testing.T) {
	_, err := chat.NewSigner()
	assert.Error(t, err)
	_, err = chat.NewSigner(testSecret, []byte("fifteen bytes .."[:15]))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "fifteen", "the key is in the error")
}

func FuzzCursorVerify(f *testing.F) {
	s, err := chat.NewSigner(testSecret)
	require.NoError(f, err)
	f.Add(s.SignCursor(fullCursor(), "k"))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := s.VerifyCursor(text, "k")
		if err != nil {
			assert.ErrorIs(t, err, chat.ErrCursor)
			return
		}
		// Whoever has no key can only repeat what was signed; the decoder may skip line breaks.
		plain := strings.NewReplacer("\r", "", "\n", "").Replace(text)
		assert.Equal(t, plain, s.SignCursor(c, "k"))
	})
}
