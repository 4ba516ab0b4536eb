package realtime

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Reasons for the end of a socket or a join that the client itself decided on. All are temporary.
var (
	ErrReconnect        = errors.New("reconnect requested")
	ErrRecycled         = errors.New("socket reached its maximum age")
	ErrHeartbeatTimeout = errors.New("heartbeat not answered")
	ErrJoinTimeout      = errors.New("join not answered")
	ErrLiveTimeout      = errors.New("subscription not confirmed")
)

// HandshakeError is a refused WebSocket handshake.
type HandshakeError struct {
	Status  int    // HTTP status
	Message string // text of the server, may be empty
}

func (e *HandshakeError) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	return fmt.Sprintf("websocket handshake: %d %s", e.Status, text)
}

// JoinError is a refused join. Reasons look like "Code: text"; Code is empty where the server gave none.
type JoinError struct {
	Topic, Code, Reason string
}

func (e *JoinError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("join %s: %s", e.Topic, e.Reason)
	}
	return fmt.Sprintf("join %s: %s: %s", e.Topic, e.Code, e.Reason)
}

// SubscribeError says that the server did not subscribe the bindings of a joined channel. The channel gets no changes.
type SubscribeError struct {
	Topic, Message string
}

func (e *SubscribeError) Error() string {
	return fmt.Sprintf("subscribe %s: %s", e.Topic, e.Message)
}

// ChannelError is the end of a joined channel by phx_close or phx_error. Message is the system message before it, if any.
type ChannelError struct {
	Topic, Event, Message string
}

func (e *ChannelError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("channel %s: %s", e.Topic, e.Event)
	}
	return fmt.Sprintf("channel %s: %s: %s", e.Topic, e.Event, e.Message)
}

// IsConfiguration reports whether err will last until somebody repairs the key, the URL, the publication or a binding.
func IsConfiguration(err error) bool {
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		return e.configuration()
	}
	if e, ok := errors.AsType[*JoinError](err); ok {
		return configurationCodes[e.Code] || e.Code == "" && e.Reason == "unmatched topic"
	}
	if e, ok := errors.AsType[*SubscribeError](err); ok {
		return hasAnyPrefix(e.Message, bindingRefusals)
	}
	return false
}

// Temporary reports whether err may pass by waiting: every error that is not one of configuration.
func Temporary(err error) bool {
	return err != nil && !IsConfiguration(err)
}

// NotPublished reports whether err says that no table of a binding is in the publication supabase_realtime.
func NotPublished(err error) bool {
	e, ok := errors.AsType[*SubscribeError](err)
	return ok && strings.Contains(e.Message, "Please check Realtime is enabled")
}

func (e *HandshakeError) configuration() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	default:
		return e.Status < http.StatusInternalServerError
	}
}

// configurationCodes are the codes of refused joins that waiting does not cure.
var configurationCodes = map[string]bool{
	"InvalidJWTExpiration":      true,
	"InvalidJWTToken":           true,
	"JwtSignatureError":         true,
	"JwtSignerError":            true,
	"MalformedJWT":              true,
	"PrivateOnly":               true,
	"RealtimeDisabledForTenant": true,
	"TenantNotFound":            true,
	"TopicNameRequired":         true,
	"Unauthorized":              true,
}

// bindingRefusals begin the messages about bindings that the server does not try again.
var bindingRefusals = []string{
	"Unable to subscribe to changes with given parameters",
	"Error parsing `filter` params",
	"No subscription params provided",
	"Column selection is not supported",
	"too many values for in filter",
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// newJoinError splits a reason of the form "Code: text". A text without a one-word prefix has no code.
func newJoinError(topic, reason string) *JoinError {
	code, text, ok := strings.Cut(reason, ": ")
	if !ok || code == "" || strings.ContainsAny(code, " \t`:") {
		return &JoinError{Topic: topic, Reason: reason}
	}
	return &JoinError{Topic: topic, Code: code, Reason: text}
}
