package phoenix

import "fmt"

// DecodeServer reads a frame that came from a server. Text frames of either version are accepted whatever was negotiated,
// because a server that serves both versions on one topic can send either to either.
func DecodeServer(binary bool, frame []byte) (Message, error) {
	if binary {
		return decodeServerBinary(frame)
	}
	s, err := newScanner(frame)
	if err != nil {
		return Message{}, err
	}
	if s.peek() == '[' {
		return s.array(false)
	}
	return s.object(serverKeys)
}

// DecodeClient reads a frame that came from a client which negotiated v. It is as strict as the server: a frame in the shape
// of the other version, or a binary frame on 1.0.0, is an error.
func DecodeClient(v Version, binary bool, frame []byte) (Message, error) {
	if binary {
		if v != V2 {
			return Message{}, fmt.Errorf("%w: binary frame on vsn %s", ErrMalformed, v)
		}
		return decodeClientBinary(frame)
	}
	s, err := newScanner(frame)
	if err != nil {
		return Message{}, err
	}
	if v == V2 {
		return s.array(true)
	}
	return s.object(clientKeys)
}

// EncodeClient appends the frame that a client of version v sends for m to dst, which may be nil. m.Payload must be JSON;
// that is not checked.
func EncodeClient(v Version, dst []byte, m Message) (frame []byte, binary bool, err error) {
	if m.Binary != nil {
		frame, err = appendClientBinary(v, dst, m)
		return frame, true, err
	}
	if v == V2 {
		frame, err = appendArray(dst, m)
	} else {
		frame, err = appendClientObject(dst, m)
	}
	return frame, false, err
}

// EncodeServer appends the frame that a server sends for m to a client of version v to dst, which may be nil. m.Payload must
// be JSON; that is not checked. Frames of vsn 1.0.0 carry no join ref.
func EncodeServer(v Version, dst []byte, m Message) (frame []byte, binary bool, err error) {
	if m.Binary != nil {
		frame, err = appendServerBinary(v, dst, m)
		return frame, true, err
	}
	if v == V2 {
		frame, err = appendArray(dst, m)
	} else {
		frame, err = appendServerObject(dst, m)
	}
	return frame, false, err
}
