package phoenix

import "encoding/json"

// Statuses of replies and of system messages.
const (
	StatusOK    = "ok"
	StatusError = "error"
)

// ExtensionPostgresChanges is the SystemPayload.Extension of messages about the bindings of a channel.
const ExtensionPostgresChanges = "postgres_changes"

// ReplyPayload is the payload of phx_reply.
type ReplyPayload struct {
	Status   string          `json:"status"`
	Response json.RawMessage `json:"response"`
}

// SystemPayload is the payload of a system message. Channel is the topic without "realtime:".
type SystemPayload struct {
	Message   string `json:"message"`
	Status    string `json:"status"`
	Extension string `json:"extension"`
	Channel   string `json:"channel,omitempty"`
}

// Reply returns a phx_reply. A nil response is written as {}; clients require an object.
func Reply(joinRef, ref Ref, topic, status string, response json.RawMessage) Message {
	if response == nil {
		response = emptyObject
	}
	p := make([]byte, 0, len(response)+len(status)+27)
	p = append(p, `{"status":`...)
	p = appendQuoted(p, status)
	p = append(p, `,"response":`...)
	p = append(p, response...)
	return Message{JoinRef: joinRef, Ref: ref, Topic: topic, Event: EventReply, Payload: append(p, '}')}
}

// System returns a system message of the channel that joined with joinRef.
func System(joinRef Ref, topic string, s SystemPayload) Message {
	p := append([]byte(nil), `{"message":`...)
	p = appendQuoted(p, s.Message)
	p = append(p, `,"status":`...)
	p = appendQuoted(p, s.Status)
	p = append(p, `,"extension":`...)
	p = appendQuoted(p, s.Extension)
	if s.Channel != "" {
		p = append(p, `,"channel":`...)
		p = appendQuoted(p, s.Channel)
	}
	return Message{JoinRef: joinRef, Topic: topic, Event: EventSystem, Payload: append(p, '}')}
}

// Close returns the phx_close of the channel that joined with joinRef. Both refs are the join ref, so that clients of either
// version can tell which join it ends.
func Close(joinRef Ref, topic string) Message {
	return Message{JoinRef: joinRef, Ref: joinRef, Topic: topic, Event: EventClose, Payload: emptyObject}
}

// ChannelError returns the phx_error of the channel that joined with joinRef; clients join again after it.
func ChannelError(joinRef Ref, topic string) Message {
	return Message{JoinRef: joinRef, Ref: joinRef, Topic: topic, Event: EventError, Payload: emptyObject}
}

var emptyObject = json.RawMessage("{}")
