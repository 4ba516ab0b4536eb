package chat

import "time"

// Control is an event that tells of no row: connected, session_ended, connection, reconnect, heartbeat, ack, pong, error. It
// has no place in a class's sequence.
type Control struct {
	Type string
	Data any // encodes as a JSON object, or nil
	// Cursor, when set, is the position that the visitor may come back with.
	Cursor string
	// Flat puts the fields of Data beside type in the WebSocket dialect instead of under data.
	Flat bool
	// At stamps the envelope dialect.
	At time.Time
}

// Encode returns the control event in a dialect. A heartbeat is a comment in DialectMessage, so that it reaches no handler.
// DialectRealtime has no control events: nil.
func (c Control) Encode(d Dialect) []byte {
	switch d {
	case DialectMessage:
		if c.Type == "heartbeat" {
			return []byte(": keep-alive\n\n")
		}
		return appendSSE(nil, c.Type, c.Cursor, c.data())
	case DialectEnvelope:
		return appendSSE(nil, "", c.Cursor, marshal(envelope{c.Type, c.Data, c.At}))
	case DialectRealtime:
		return nil
	}
	return c.encodeObject()
}

func (c Control) data() []byte {
	if c.Data == nil {
		return []byte("{}")
	}
	return marshal(c.Data)
}

func (c Control) encodeObject() []byte {
	out := append([]byte(`{"type":`), marshal(c.Type)...)
	if c.Data != nil {
		data := marshal(c.Data)
		switch {
		case !c.Flat:
			out = append(append(out, `,"data":`...), data...)
		case len(data) > 2: // more than {}
			out = append(append(out, ','), data[1:len(data)-1]...)
		}
	}
	if c.Cursor != "" {
		out = append(append(out, `,"cursor":`...), marshal(c.Cursor)...)
	}
	return append(out, '}')
}
