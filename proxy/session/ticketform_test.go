package session_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
)

const formSecret = "a signing key of the tests"

// formAEAD is the cipher of tickets as nodes agree on it.
func formAEAD(t *testing.T) cipher.AEAD {
	t.Helper()
	key, err := hkdf.Key(sha256.New, []byte(formSecret), nil, "realtime-proxy ticket", 32)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return aead
}

// sealedText is the text that only the owner of the secret can make of the given content.
func sealedText(t *testing.T, plain []byte, additional string) string {
	t.Helper()
	nonce := []byte("twelve bytes")
	return "t1." + base64.RawURLEncoding.EncodeToString(formAEAD(t).Seal(bytes.Clone(nonce), nonce, plain, []byte(additional)))
}

// ticketContent is a ticket issued at 1,700,000,000 for 600 s. The id is written with its length, 0 for 16 bytes; tokenLength is
// what is said of the token that packed holds.
func ticketContent(kind byte, idLength int, id string, tokenLength int, packed []byte) []byte {
	b := []byte{kind}
	b = binary.BigEndian.AppendUint32(b, 1_700_000_000)
	b = binary.BigEndian.AppendUint32(b, 600)
	b = append(append(b, byte(idLength)), id...)
	return append(binary.BigEndian.AppendUint16(b, uint16(tokenLength)), packed...)
}

const formToken = "aB3-_9zZaB3-_9zZa" // 17 characters, which three more fill up to 15 bytes

func packedToken(t *testing.T, fill string) []byte {
	t.Helper()
	packed, err := base64.RawURLEncoding.DecodeString(formToken + fill)
	require.NoError(t, err)
	return packed
}

// Nodes of different versions open each other's tickets, so what they hold is part of what they agree on.
func TestTicketHoldsWhatNodesAgreeOn(t *testing.T) {
	s, err := session.NewSealer([]byte(formSecret))
	require.NoError(t, err)
	u := uuid.MustParse(sessionID(1))
	cases := map[string]struct {
		kind byte
		id   string
		want []byte
	}{
		"url":      {1, sessionID(1), ticketContent(1, 0, string(u[:]), 17, packedToken(t, "AAA"))},
		"resume":   {2, sessionID(1), ticketContent(2, 0, string(u[:]), 17, packedToken(t, "AAA"))},
		"other id": {2, "77", ticketContent(2, 2, "77", 17, packedToken(t, "AAA"))},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			claims := session.Claims{
				Kind: c.kind, Session: c.id, Token: formToken, Issued: time.Unix(1_700_000_000, 0), Life: 10 * time.Minute,
			}
			ticket, err := s.Seal(claims)
			require.NoError(t, err)
			text, ok := strings.CutPrefix(ticket.Reveal(), "t1.")
			require.True(t, ok)
			raw, err := base64.RawURLEncoding.DecodeString(text)
			require.NoError(t, err)
			plain, err := formAEAD(t).Open(nil, raw[:12], raw[12:], []byte("t1."))
			require.NoError(t, err)
			assert.Equal(t, c.want, plain)
			opened, err := s.Open(chat.Token(sealedText(t, c.want, "t1.")))
			require.NoError(t, err)
			assert.Equal(t, claims, opened)
		})
	}
}

func TestSealedTextIsATicketOnlyInItsForm(t *testing.T) {
	s, err := session.NewSealer([]byte(formSecret))
	require.NoError(t, err)
	u := uuid.MustParse(sessionID(1))
	packed := packedToken(t, "AAA")
	good := ticketContent(1, 0, string(u[:]), 17, packed)
	long, err := base64.RawURLEncoding.DecodeString(strings.Repeat("a", 516))
	require.NoError(t, err)
	short, err := base64.RawURLEncoding.DecodeString(strings.Repeat("a", 16))
	require.NoError(t, err)
	bad := map[string][]byte{
		"nothing":                        nil,
		"a head that lacks a byte":       good[:9],
		"a head only":                    good[:10],
		"an id that lacks a byte":        good[:25],
		"no length of the token":         good[:26],
		"half a length of the token":     good[:27],
		"no token":                       good[:28],
		"a token that lacks a byte":      good[:len(good)-1],
		"a byte over":                    append(bytes.Clone(good), 0),
		"a token that should be longer":  ticketContent(1, 0, string(u[:]), 21, packed),
		"a token that should be shorter": ticketContent(1, 0, string(u[:]), 16, packed),
		"a token that is too short":      ticketContent(1, 0, string(u[:]), 15, short),
		"a token that is too long":       ticketContent(1, 0, string(u[:]), 513, long),
		"no kind":                        ticketContent(0, 0, string(u[:]), 17, packed),
		"a kind nobody knows":            ticketContent(3, 0, string(u[:]), 17, packed),
		"an id of another form":          ticketContent(1, 5, "1 or 2", 17, packed),
		"an id with a blank":             ticketContent(1, 2, "7 ", 17, packed),
		"a longer id than there is":      ticketContent(1, 255, "77", 17, packed),
	}
	for name, plain := range bad {
		t.Run(name, func(t *testing.T) {
			got, err := s.Open(chat.Token(sealedText(t, plain, "t1.")))
			require.Error(t, err)
			assert.Equal(t, "not a ticket of this proxy", err.Error())
			assert.Empty(t, got)
		})
	}
	text := sealedText(t, good, "t1.")
	last := strings.IndexByte(base64url, text[len(text)-1])
	require.Zero(t, last%4, "71 bytes leave two bits of the last character")
	whole := sealedText(t, ticketContent(1, 2, "77", 17, packed), "t1.") // 57 bytes: no character is left over
	_, err = s.Open(chat.Token(whole))
	require.NoError(t, err)
	texts := map[string]string{
		"padding behind":           whole + "=",
		"a blank behind":           whole + " ",
		"another character behind": whole + "A",
		"four characters behind":   whole + "AAAA",
		"another prefix":           "t2." + text[3:],
		"no prefix":                text[3:],
		"sealed for something":     sealedText(t, good, ""),
		"bits that say nothing":    text[:len(text)-1] + base64url[last+1:last+2],
		"a nonce only":             text[:3+16],
		"a nonce that lacks bytes": text[:3+12],
		"longer than any ticket":   text + strings.Repeat("\n", session.MaxTicketBytes+1-len(text)),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			_, err := s.Open(chat.Token(text))
			require.Error(t, err)
			assert.Equal(t, "not a ticket of this proxy", err.Error())
		})
	}
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestTicketsOfOneContentDiffer(t *testing.T) {
	s, err := session.NewSealer([]byte(formSecret))
	require.NoError(t, err)
	c := session.Claims{Kind: 2, Session: sessionID(1), Token: token(1), Issued: time.Unix(1_700_000_000, 0), Life: time.Hour}
	first, err := s.Seal(c)
	require.NoError(t, err)
	second, err := s.Seal(c)
	require.NoError(t, err)
	assert.NotEqual(t, first.Reveal()[:3+16], second.Reveal()[:3+16], "a nonce is used twice")
}

func TestTokenOfAnotherFormIsNotSealed(t *testing.T) {
	s, err := session.NewSealer([]byte(formSecret))
	require.NoError(t, err)
	for _, text := range []string{"", strings.Repeat("a", 15), strings.Repeat("a", 513), strings.Repeat("a", 16) + ".", strings.Repeat("a", 16) + "/"} {
		ticket, err := s.Seal(session.Claims{Kind: 2, Session: sessionID(1), Token: chat.Token(text)})
		require.Error(t, err)
		assert.Empty(t, ticket)
	}
}
