package chat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// A cursor's text is base64url of: version byte, epoch, seq, high, since, newest (8 bytes each, big endian), 5 bytes for each seen
// row, and a truncated HMAC-SHA256 over all that and the class. It is at most 600 bytes and opaque to visitors.
const (
	cursorVersion = 1
	cursorHead    = 1 + 5*8
	cursorMAC     = 16
	// MaxCursorBytes bounds the text of a cursor.
	MaxCursorBytes = 600
)

// ErrCursor is returned for a cursor that is malformed, forged, or another class's. Such a cursor counts as none.
var ErrCursor = errors.New("not a cursor of this session")

// Signer signs cursors. The first key signs, all verify. It is safe for concurrent use.
type Signer struct{ keys [][]byte }

// NewSigner takes one or more secrets of at least 16 bytes; each is turned into a key of its own for cursors.
func NewSigner(secrets ...[]byte) (*Signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("new signer: no signing key")
	}
	s := &Signer{}
	for _, secret := range secrets {
		if len(secret) < 16 {
			return nil, errors.New("new signer: a signing key is shorter than 16 bytes")
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte("realtime-proxy cursor key"))
		s.keys = append(s.keys, mac.Sum(nil))
	}
	return s, nil
}

// cursor is a position in one class's sequence. epoch and seq hold within one process, the position everywhere.
type cursor struct {
	epoch, seq uint64
	position
}

func (s *Signer) sign(c *cursor, class string) string {
	raw := make([]byte, 0, MaxCursorBytes)
	raw = append(raw, cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, c.epoch)
	raw = binary.BigEndian.AppendUint64(raw, c.seq)
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.high))
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.since))
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.newest()))
	for i := range c.seen {
		if planted == "drop seen" {
			break
		}
		raw = append(raw, c.seen[i].hash[:]...)
	}
	raw = append(raw, cursorSum(s.keys[0], raw, class)...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// verify reads a cursor of the given class. The times of its seen rows are not known one by one; they are set to the newest, which
// keeps them for as long as they can matter.
func (s *Signer) verify(text, class string) (*cursor, error) {
	if len(text) > MaxCursorBytes {
		return nil, ErrCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < cursorHead+cursorMAC || raw[0] != cursorVersion {
		return nil, ErrCursor
	}
	body, sum := raw[:len(raw)-cursorMAC], raw[len(raw)-cursorMAC:]
	if (len(body)-cursorHead)%len(rowHash{}) != 0 || !s.known(body, sum, class) {
		return nil, ErrCursor
	}
	c := &cursor{epoch: binary.BigEndian.Uint64(body[1:]), seq: binary.BigEndian.Uint64(body[9:])}
	c.high, c.since = int64(binary.BigEndian.Uint64(body[17:])), int64(binary.BigEndian.Uint64(body[25:]))
	newest := int64(binary.BigEndian.Uint64(body[33:]))
	for rest := body[cursorHead:]; len(rest) > 0; rest = rest[len(rowHash{}):] {
		c.seen = append(c.seen, seenRow{created: newest, hash: rowHash(rest)})
	}
	return c, nil
}

func (s *Signer) known(body, sum []byte, class string) bool {
	for _, key := range s.keys {
		if hmac.Equal(sum, cursorSum(key, body, class)) {
			return true
		}
	}
	return false
}

func cursorSum(key, body []byte, class string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	mac.Write([]byte(class))
	return mac.Sum(nil)[:cursorMAC]
}
