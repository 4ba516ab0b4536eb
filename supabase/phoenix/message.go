package phoenix

import (
	"encoding/json"
	"errors"
)

// ErrMalformed is wrapped by every decoding error: the frame is not what the protocol allows. The server ignores such
// frames without an answer.
var ErrMalformed = errors.New("malformed frame")

// ErrTooLong is wrapped by encoding errors of a binary frame with a field over 255 bytes.
var ErrTooLong = errors.New("field over 255 bytes")

// ErrUnsupported is wrapped by encoding errors of a message that the version or the direction has no frame for.
var ErrUnsupported = errors.New("no frame for this message")

// Message is one frame of either version and direction.
type Message struct {
	JoinRef Ref             // ref of the join of the channel; null on fan-out events, absent from server frames of vsn 1.0.0
	Ref     Ref             // answered by phx_reply; of phx_close and phx_error the join ref
	Topic   string          // wire topic, such as realtime:room
	Event   string          // one of the Event constants; "broadcast" for binary kinds 3 and 4, "phx_reply" for kind 1
	Payload json.RawMessage // JSON payload of text frames, as it arrived; nil is written as {}
	Binary  *Binary         // set for binary frames, nil for text
}

// Kinds of binary frames, their first byte.
const (
	KindPush              byte = 0 // either direction; only the client's has a ref
	KindReply             byte = 1 // server to client
	KindBroadcast         byte = 2 // server to client
	KindUserBroadcastPush byte = 3 // client to server
	KindUserBroadcast     byte = 4 // server to client
)

// Binary holds what a binary frame of vsn 2.0.0 has beyond a text frame.
type Binary struct {
	Kind      byte            // one of the Kind constants
	UserEvent string          // kinds 3 and 4: event name chosen by the sender
	Status    string          // kind 1: ok or error
	Meta      json.RawMessage // kinds 3 and 4: JSON text of at most 255 bytes, or empty
	JSON      bool            // kinds 3 and 4: Payload is JSON text
	Payload   []byte          // the rest of the frame
}
