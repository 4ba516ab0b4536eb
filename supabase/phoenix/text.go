package phoenix

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Keys that an object of vsn 1.0.0 must have, as bits of the set that object collects.
const (
	keyTopic = 1 << iota
	keyEvent
	keyPayload
	keyRef
	keyJoinRef

	serverKeys = keyTopic | keyEvent | keyPayload
	clientKeys = serverKeys | keyRef
)

// array reads [join_ref, ref, topic, event, payload]. The server ignores further elements in a client's frame; longer says
// whether they are allowed.
func (s *scanner) array(longer bool) (m Message, err error) {
	if err := s.expect('['); err != nil {
		return m, err
	}
	n := 0
	for ; ; n++ {
		if n > 0 {
			if s.peek() == ']' {
				break
			}
			if err := s.expect(','); err != nil {
				return m, err
			}
		}
		token, err := s.next()
		if err != nil {
			return m, err
		}
		if n > 4 && !longer {
			return m, fmt.Errorf("%w: array of more than 5 elements", ErrMalformed)
		}
		if err := m.setElement(n, token); err != nil {
			return m, err
		}
	}
	if n < 5 {
		return m, fmt.Errorf("%w: array of %d elements", ErrMalformed, n)
	}
	s.i++
	return m, s.end()
}

func (m *Message) setElement(n int, token []byte) (err error) {
	switch n {
	case 0:
		m.JoinRef, err = parseRef(token)
	case 1:
		m.Ref, err = parseRef(token)
	case 2:
		m.Topic, err = unquote(token)
	case 3:
		m.Event, err = unquote(token)
	case 4:
		m.Payload = token
	}
	return err
}

// object reads an object of vsn 1.0.0 that has at least the required keys. Of a key given twice the last value counts, other
// keys are ignored. Only clients send a join_ref.
func (s *scanner) object(required int) (m Message, err error) {
	if err := s.expect('{'); err != nil {
		return m, err
	}
	seen := 0
	for first := true; s.peek() != '}'; first = false {
		if !first {
			if err := s.expect(','); err != nil {
				return m, err
			}
		}
		key, value, err := s.member()
		if err != nil {
			return m, err
		}
		bit, err := m.setMember(key, value, required == clientKeys)
		if err != nil {
			return m, err
		}
		seen |= bit
	}
	if seen&required != required {
		return m, fmt.Errorf("%w: object lacks a required key", ErrMalformed)
	}
	s.i++
	return m, s.end()
}

func (m *Message) setMember(key string, value []byte, client bool) (bit int, err error) {
	switch key {
	case "topic":
		m.Topic, err = unquote(value)
		return keyTopic, err
	case "event":
		m.Event, err = unquote(value)
		return keyEvent, err
	case "payload":
		m.Payload = value
		return keyPayload, nil
	case "ref":
		m.Ref, err = parseRef(value)
		return keyRef, err
	case "join_ref":
		if client {
			m.JoinRef, err = parseRef(value)
		}
		return keyJoinRef, err
	default:
		return 0, nil
	}
}

func appendArray(dst []byte, m Message) ([]byte, error) {
	if err := m.checkNames(); err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	dst = m.JoinRef.append(dst)
	dst = append(dst, ',')
	dst = m.Ref.append(dst)
	dst = append(dst, ',')
	dst = appendQuoted(dst, m.Topic)
	dst = append(dst, ',')
	dst = appendQuoted(dst, m.Event)
	dst = append(dst, ',')
	dst = append(dst, m.payload()...)
	return append(dst, ']'), nil
}

// appendServerObject uses the key order of the server.
func appendServerObject(dst []byte, m Message) ([]byte, error) {
	if err := m.checkNames(); err != nil {
		return dst, err
	}
	dst = append(dst, `{"ref":`...)
	dst = m.Ref.append(dst)
	dst = append(dst, `,"event":`...)
	dst = appendQuoted(dst, m.Event)
	dst = append(dst, `,"topic":`...)
	dst = appendQuoted(dst, m.Topic)
	dst = append(dst, `,"payload":`...)
	dst = append(dst, m.payload()...)
	return append(dst, '}'), nil
}

// appendClientObject uses the key order of the JavaScript client.
func appendClientObject(dst []byte, m Message) ([]byte, error) {
	if err := m.checkNames(); err != nil {
		return dst, err
	}
	dst = append(dst, `{"topic":`...)
	dst = appendQuoted(dst, m.Topic)
	dst = append(dst, `,"event":`...)
	dst = appendQuoted(dst, m.Event)
	dst = append(dst, `,"payload":`...)
	dst = append(dst, m.payload()...)
	dst = append(dst, `,"ref":`...)
	dst = m.Ref.append(dst)
	if !m.JoinRef.IsNull() {
		dst = append(dst, `,"join_ref":`...)
		dst = m.JoinRef.append(dst)
	}
	return append(dst, '}'), nil
}

func (m *Message) payload() json.RawMessage {
	if len(m.Payload) == 0 {
		return emptyObject
	}
	return m.Payload
}

func (m *Message) checkNames() error {
	if !utf8.ValidString(m.Topic) || !utf8.ValidString(m.Event) {
		return fmt.Errorf("%w: topic or event is not UTF-8", ErrUnsupported)
	}
	return nil
}
