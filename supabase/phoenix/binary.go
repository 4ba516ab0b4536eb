package phoenix

import (
	"fmt"
	"unicode/utf8"
)

// Layouts after the kind byte; every length is one byte, the payload is the rest:
//
//	0 push, client   joinRefLen refLen topicLen eventLen            joinRef ref topic event
//	0 push, server   joinRefLen topicLen eventLen                   joinRef topic event
//	1 reply          joinRefLen refLen topicLen statusLen           joinRef ref topic status
//	2 broadcast      topicLen eventLen                              topic event
//	3 user push      joinRefLen refLen topicLen eventLen metaLen enc  joinRef ref topic event meta
//	4 user broadcast topicLen eventLen metaLen enc                  topic event meta

const maxField = 255

func decodeServerBinary(frame []byte) (m Message, err error) {
	if len(frame) == 0 {
		return m, fmt.Errorf("%w: empty binary frame", ErrMalformed)
	}
	b := &Binary{Kind: frame[0]}
	m.Binary = b
	switch b.Kind {
	case KindPush:
		err = cutFields(b, frame, ref(&m.JoinRef), text(&m.Topic), text(&m.Event))
	case KindReply:
		m.Event = EventReply
		err = cutFields(b, frame, ref(&m.JoinRef), ref(&m.Ref), text(&m.Topic), text(&b.Status))
	case KindBroadcast:
		err = cutFields(b, frame, text(&m.Topic), text(&m.Event))
	case KindUserBroadcast:
		m.Event = EventBroadcast
		err = cutUserFields(b, frame, text(&m.Topic), text(&b.UserEvent))
	default:
		err = fmt.Errorf("%w: server frame of binary kind %d", ErrMalformed, b.Kind)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

func decodeClientBinary(frame []byte) (m Message, err error) {
	if len(frame) == 0 {
		return m, fmt.Errorf("%w: empty binary frame", ErrMalformed)
	}
	b := &Binary{Kind: frame[0]}
	m.Binary = b
	switch b.Kind {
	case KindPush:
		err = cutFields(b, frame, ref(&m.JoinRef), ref(&m.Ref), text(&m.Topic), text(&m.Event))
	case KindUserBroadcastPush:
		m.Event = EventBroadcast
		err = cutUserFields(b, frame, ref(&m.JoinRef), ref(&m.Ref), text(&m.Topic), text(&b.UserEvent))
	default:
		err = fmt.Errorf("%w: client frame of binary kind %d", ErrMalformed, b.Kind)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// field stores the bytes of one field of a frame.
type field func([]byte)

func text(s *string) field { return func(b []byte) { *s = string(b) } }

// ref stores a reference; binary frames have no other spelling for null than the empty one.
func ref(r *Ref) field {
	return func(b []byte) {
		if len(b) > 0 {
			*r = StringRef(string(b))
		}
	}
}

// cutFields reads a frame of a kind byte, one length per field, the fields and the payload.
func cutFields(b *Binary, frame []byte, fields ...field) (err error) {
	n := 1 + len(fields)
	if len(frame) < n {
		return errShort
	}
	b.Payload, err = cut(frame[1:n], frame[n:], fields)
	return err
}

// cutUserFields reads a frame whose header has, after the lengths of fields, the length of the metadata and the encoding.
// Like the server it takes every encoding but 0 for JSON.
func cutUserFields(b *Binary, frame []byte, fields ...field) (err error) {
	n := 1 + len(fields) + 2
	if len(frame) < n {
		return errShort
	}
	meta := func(raw []byte) { b.Meta = raw }
	b.JSON = frame[n-1] != 0
	if b.Payload, err = cut(frame[1:n-1], frame[n:], append(fields, meta)); err != nil {
		return err
	}
	if len(b.Meta) > 0 && !validJSON(b.Meta) {
		return fmt.Errorf("%w: metadata is not JSON", ErrMalformed)
	}
	if b.JSON && !validJSON(b.Payload) {
		return fmt.Errorf("%w: payload is not JSON", ErrMalformed)
	}
	return nil
}

// cut stores the fields that body begins with and returns the rest.
func cut(lengths, body []byte, fields []field) ([]byte, error) {
	for i, store := range fields {
		n := int(lengths[i])
		if n > len(body) {
			return nil, errShort
		}
		if !utf8.Valid(body[:n]) {
			return nil, fmt.Errorf("%w: binary field is not UTF-8", ErrMalformed)
		}
		store(body[:n:n])
		body = body[n:]
	}
	return body, nil
}

var errShort = fmt.Errorf("%w: binary frame too short", ErrMalformed)

func validJSON(b []byte) bool {
	s, err := newScanner(b)
	if err != nil {
		return false
	}
	return s.value(0) == nil && s.end() == nil
}

func appendClientBinary(v Version, dst []byte, m Message) ([]byte, error) {
	b := m.Binary
	switch {
	case v == V2 && b.Kind == KindPush:
		return appendFields(dst, b, m.JoinRef.String(), m.Ref.String(), m.Topic, m.Event)
	case v == V2 && b.Kind == KindUserBroadcastPush:
		return appendUserFields(dst, b, m.JoinRef.String(), m.Ref.String(), m.Topic, b.UserEvent)
	default:
		return dst, fmt.Errorf("%w: client, binary kind %d, vsn %s", ErrUnsupported, b.Kind, v)
	}
}

func appendServerBinary(v Version, dst []byte, m Message) ([]byte, error) {
	b := m.Binary
	switch {
	case v == V2 && b.Kind == KindPush:
		return appendFields(dst, b, m.JoinRef.String(), m.Topic, m.Event)
	case v == V2 && b.Kind == KindReply:
		return appendFields(dst, b, m.JoinRef.String(), m.Ref.String(), m.Topic, b.Status)
	case v == V2 && b.Kind == KindBroadcast:
		return appendFields(dst, b, m.Topic, m.Event)
	case v == V2 && b.Kind == KindUserBroadcast:
		return appendUserFields(dst, b, m.Topic, b.UserEvent)
	default:
		return dst, fmt.Errorf("%w: server, binary kind %d, vsn %s", ErrUnsupported, b.Kind, v)
	}
}

func appendFields(dst []byte, b *Binary, fields ...string) ([]byte, error) {
	return appendBinary(dst, b, nil, fields)
}

func appendUserFields(dst []byte, b *Binary, fields ...string) ([]byte, error) {
	encoding := []byte{0}
	if b.JSON {
		encoding[0] = 1
	}
	return appendBinary(dst, b, encoding, append(fields, string(b.Meta)))
}

func appendBinary(dst []byte, b *Binary, encoding []byte, fields []string) ([]byte, error) {
	for _, f := range fields {
		if len(f) > maxField {
			return dst, fmt.Errorf("binary frame of kind %d: %w", b.Kind, ErrTooLong)
		}
	}
	dst = append(dst, b.Kind)
	for _, f := range fields {
		dst = append(dst, byte(len(f)))
	}
	dst = append(dst, encoding...)
	for _, f := range fields {
		dst = append(dst, f...)
	}
	return append(dst, b.Payload...), nil
}
