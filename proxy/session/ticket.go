package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// A ticket's text is TicketPrefix and base64url of: nonce (12 bytes), and sealed with AES-256-GCM: kind (1), issued (4, Unix
// seconds), life (4, seconds), length of the session id (1; 0 for a UUID as 16 bytes) and the id, length of the token (2) and
// the token at 6 bits a character. The longest token makes it 594 characters.
const (
	// TicketPrefix tells tickets from tokens, in which a dot cannot occur.
	TicketPrefix = "t1."
	// MaxTicketBytes bounds the text of a ticket.
	MaxTicketBytes = 600

	minKeyBytes = 16
	ticketHead  = 1 + 4 + 4 + 1
	ticketLabel = "realtime-proxy ticket"
)

type ticketKind byte

const (
	ticketURL    ticketKind = 1 // stands in a URL: good for a short time to its first use
	ticketResume ticketKind = 2 // handed out on a stream: good for coming back to it
)

var (
	errTicket        = errors.New("not a ticket of this proxy")
	errTicketExpired = errors.New("the ticket has expired")
)

// claims are what a ticket says. Times are whole seconds of the proxy's clock.
type claims struct {
	kind    ticketKind
	session string
	token   chat.Token
	issued  time.Time
	life    time.Duration
}

func (c claims) expires() time.Time { return c.issued.Add(c.life) }

// sealer seals and opens tickets. It is safe for concurrent use.
type sealer struct{ keys []cipher.AEAD }

func newSealer(secrets [][]byte) (*sealer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no signing key")
	}
	s := &sealer{}
	for _, secret := range secrets {
		if len(secret) < minKeyBytes {
			return nil, fmt.Errorf("a signing key is shorter than %d bytes", minKeyBytes)
		}
		key, err := hkdf.Key(sha256.New, secret, nil, ticketLabel, 32)
		if err != nil {
			return nil, fmt.Errorf("derive ticket key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("ticket cipher: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("ticket cipher: %w", err)
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

func (s *sealer) seal(c claims) (chat.Token, error) {
	plain, err := appendClaims(nil, c)
	if err != nil {
		return "", err
	}
	aead := s.keys[0]
	raw := make([]byte, aead.NonceSize(), MaxTicketBytes)
	rand.Read(raw) // never fails
	raw = aead.Seal(raw, raw, plain, []byte(TicketPrefix))
	return chat.Token(TicketPrefix + base64.RawURLEncoding.EncodeToString(raw)), nil
}

// open returns errTicket for everything that no known key sealed. It does not look at the clock.
func (s *sealer) open(t chat.Token) (claims, error) {
	text, ok := strings.CutPrefix(t.Reveal(), TicketPrefix)
	if !ok || len(t) > MaxTicketBytes {
		return claims{}, errTicket
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return claims{}, errTicket
	}
	for _, aead := range s.keys {
		if len(raw) < aead.NonceSize() {
			return claims{}, errTicket
		}
		nonce, sealed := raw[:aead.NonceSize()], raw[aead.NonceSize():]
		if plain, err := aead.Open(nil, nonce, sealed, []byte(TicketPrefix)); err == nil {
			return parseClaims(plain)
		}
	}
	return claims{}, errTicket
}

func appendClaims(b []byte, c claims) ([]byte, error) {
	if !c.token.WellFormed() || !idForm.MatchString(c.session) {
		return nil, errors.New("seal ticket: the session has no usable token or id")
	}
	b = append(b, byte(c.kind))
	b = binary.BigEndian.AppendUint32(b, uint32(c.issued.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(c.life/time.Second))
	if id, err := uuid.Parse(c.session); err == nil && id.String() == c.session {
		b = append(append(b, 0), id[:]...)
	} else {
		b = append(append(b, byte(len(c.session))), c.session...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.token)))
	return appendPacked(b, c.token.Reveal())
}

func parseClaims(b []byte) (claims, error) {
	if len(b) < ticketHead {
		return claims{}, errTicket
	}
	c := claims{
		kind:   ticketKind(b[0]),
		issued: time.Unix(int64(binary.BigEndian.Uint32(b[1:])), 0),
		life:   time.Duration(binary.BigEndian.Uint32(b[5:])) * time.Second,
	}
	idBytes, packedID := int(b[9]), b[9] == 0
	if packedID {
		idBytes = len(uuid.UUID{})
	}
	b = b[ticketHead:]
	if len(b) < idBytes+2 {
		return claims{}, errTicket
	}
	if c.session = string(b[:idBytes]); packedID {
		c.session = uuid.UUID(b[:idBytes]).String()
	}
	c.token = chat.Token(unpacked(b[idBytes+2:], int(binary.BigEndian.Uint16(b[idBytes:]))))
	known := c.kind == ticketURL || c.kind == ticketResume
	if !known || !idForm.MatchString(c.session) || !c.token.WellFormed() {
		return claims{}, errTicket
	}
	return c, nil
}

// appendPacked appends a token at 6 bits a character: its alphabet is that of base64url.
func appendPacked(b []byte, token string) ([]byte, error) {
	whole := token + "AAA"[:(4-len(token)%4)%4]
	b, err := base64.RawURLEncoding.AppendDecode(b, []byte(whole))
	if err != nil {
		return nil, errors.New("seal ticket: the token has an unknown form")
	}
	return b, nil
}

// unpacked returns the token of n characters, or "" when b does not hold exactly that.
func unpacked(b []byte, n int) string {
	if whole := base64.RawURLEncoding.EncodeToString(b); len(whole) == (n+3)/4*4 {
		return whole[:n]
	}
	return ""
}
