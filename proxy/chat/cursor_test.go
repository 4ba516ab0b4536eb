package chat_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
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
	assert.Greater(t, base64.RawURLEncoding.EncodedLen(base64.RawURLEncoding.DecodedLen(len(text))+5), chat.MaxCursorBytes,
		"one more row would fit")
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

func sha256MAC(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// forged is the text that only the owner of the secret can make of a body, with a sum of the given length.
func forged(body []byte, class string, sumBytes int) string {
	key := sha256MAC(testSecret, "realtime-proxy cursor key")
	return base64.RawURLEncoding.EncodeToString(append(bytes.Clone(body), sha256MAC(key, string(body)+class)[:sumBytes]...))
}

// cursorBody is epoch 1, seq 2, high at start, since an overlap before, newest a second after, and the rows' hashes.
func cursorBody(version byte, rows int) []byte {
	body := []byte{version}
	at := uint64(start.UnixMicro())
	for _, word := range []uint64{1, 2, at, at - uint64(overlap.Microseconds()), at + 1_000_000} {
		body = binary.BigEndian.AppendUint64(body, word)
	}
	for i := range rows {
		sum := sha256.Sum256([]byte(name("row", i)))
		body = append(body, sum[:5]...)
	}
	return body
}

// Nodes of different versions read each other's cursors, so the text is part of what they agree on.
func TestCursorHasTheTextThatNodesAgreeOn(t *testing.T) {
	c := chat.Cursor{Epoch: 1, Seq: 2, Position: chat.At(start, start.Add(-overlap))}
	c.Note(name("row", 0), start, start, overlap)
	c.Note(name("row", 1), start.Add(time.Second), start, overlap)
	assert.Equal(t, forged(cursorBody(1, 2), "session s", 16), newSigner(t).SignCursor(c, "session s"))
}

func TestSignedTextIsACursorOnlyInItsForm(t *testing.T) {
	body := cursorBody(1, 0)
	loose := []byte(forged(cursorBody(1, 1), "session s", 16)) // 62 bytes: the last character holds four bits
	last := strings.IndexByte(alphabet, loose[len(loose)-1])
	require.Zero(t, last%4)
	loose[len(loose)-1] = alphabet[last+1]
	tests := map[string]struct {
		text string
		rows int // -1 when it is refused
	}{
		"no row":                       {forged(body, "session s", 16), 0},
		"one row":                      {forged(cursorBody(1, 1), "session s", 16), 1},
		"all rows":                     {forged(cursorBody(1, chat.MaxSeen), "session s", 16), chat.MaxSeen},
		"a row too many":               {forged(cursorBody(1, chat.MaxSeen+1), "session s", 16), -1},
		"an older version":             {forged(cursorBody(0, 0), "session s", 16), -1},
		"a newer version":              {forged(cursorBody(2, 0), "session s", 16), -1},
		"nothing":                      {forged(nil, "session s", 16), -1},
		"a version only":               {forged(body[:1], "session s", 16), -1},
		"a head without its last word": {forged(body[:33], "session s", 16), -1},
		"a head that lacks a row":      {forged(body[:36], "session s", 16), -1},
		"a head that lacks a byte":     {forged(body[:40], "session s", 16), -1},
		"a byte over":                  {forged(append(bytes.Clone(body), 7), "session s", 16), -1},
		"four bytes over":              {forged(append(bytes.Clone(body), 7, 7, 7, 7), "session s", 16), -1},
		"a shorter sum":                {forged(body, "session s", 15), -1},
		"a longer sum":                 {forged(body, "session s", 32), -1},
		"bits that say nothing":        {string(loose), -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := newSigner(t).VerifyCursor(tt.text, "session s")
			if tt.rows < 0 {
				require.ErrorIs(t, err, chat.ErrCursor)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []uint64{1, 2}, []uint64{c.Epoch, c.Seq})
			assert.Equal(t, []time.Time{start, start.Add(-overlap)}, []time.Time{c.High(), c.Since()})
			assert.Equal(t, tt.rows, c.Seen())
		})
	}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

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
