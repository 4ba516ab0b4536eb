package transport

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxEchoBytes bounds what a ping may have echoed.
const maxEchoBytes = 256

// inbound is a visitor's message. Names in both spellings are alternatives.
type inbound struct {
	Type string `json:"type"`

	SessionToken  string `json:"sessionToken"`
	SessionToken2 string `json:"session_token"`
	Ticket        string `json:"ticket"`
	Cursor        string `json:"cursor"`
	History       int    `json:"history"`

	Content          string          `json:"content"`
	Message          string          `json:"message"`
	ClientMessageID  string          `json:"clientMessageId"`
	ClientMessageID2 string          `json:"client_message_id"`
	MessageType      string          `json:"message_type"`
	Metadata         json.RawMessage `json:"metadata"`

	T json.RawMessage `json:"t"`
}

type pongData struct {
	T json.RawMessage `json:"t,omitempty"`
}

type ackData struct {
	ClientMessageID string `json:"clientMessageId,omitempty"`
	MessageID       string `json:"messageId,omitempty"`
	Status          string `json:"status"`
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func decodeInbound(text []byte) (in inbound, ok bool) {
	ok = utf8.Valid(text) && json.Unmarshal(text, &in) == nil
	return in, ok
}

// pongControl repeats what the ping carried, within reason.
func pongControl(in inbound) chat.Control {
	if len(in.T) > maxEchoBytes {
		in.T = nil
	}
	return chat.Control{Type: "pong", Data: pongData{in.T}, Flat: true}
}

// receive acts on one text message.
func (k *socket) receive(text []byte) {
	in, ok := decodeInbound(text)
	if !ok {
		k.fault("bad_message", "The message could not be understood")
		return
	}
	switch in.Type {
	case "authenticate":
		k.receiveCredential(in)
	case "message":
		k.receiveMessage(in)
	case "ping":
		k.tell(pongControl(in))
	case "typing", "delivered", "read":
		// Signals that need no answer and have no reader yet.
	default:
		k.fault("bad_message", "Unknown message type")
	}
}

func (k *socket) tell(c chat.Control) {
	k.stream.push(k.server.control(c).Encode(chat.DialectWebSocket))
}

func (k *socket) tellError(e wireError) {
	k.stream.push(k.server.errorControl(e).Encode(chat.DialectWebSocket))
}

// fault answers a message that makes no sense; too many of them end the socket.
func (k *socket) fault(code, message string) {
	if k.faults++; k.faults >= maxFaults {
		k.fail(chat.BadMessage, message)
		return
	}
	k.tellError(wireError{Code: code, Message: message})
}

func (k *socket) receiveCredential(in inbound) {
	c := chat.Credential{
		Token:  chat.Token(either(in.SessionToken, in.SessionToken2)),
		Ticket: chat.Token(in.Ticket),
		Cursor: in.Cursor,
	}
	switch {
	case k.joining:
		k.fault("bad_message", "Already authenticated")
	case !hasCredential(c) || in.History < 0:
		k.fault("bad_message", "Missing sessionToken or ticket")
	default:
		if len(c.Cursor) > chat.MaxCursorBytes {
			c.Cursor = ""
		}
		k.authenticate(c, min(in.History, k.server.opts.HistoryMax))
	}
}

// authenticate joins in a goroutine of its own, so that the reader goes on watching the peer.
func (k *socket) authenticate(c chat.Credential, history int) {
	k.joining = true
	if k.extend() != nil || !k.stream.beginWriter() {
		return // the next read fails
	}
	ctx, cancel := k.server.workContext(k.server.base)
	k.stream.cancelWith(cancel)
	go func() {
		defer k.stream.writers.Done()
		defer cancel(nil)
		defer k.stream.cancelWith(nil)
		if err := k.join(ctx, c, history); err != nil {
			k.stream.abandon(err)
		}
	}()
}

func (k *socket) join(ctx context.Context, c chat.Credential, history int) error {
	g, err := k.stream.join(ctx, k.from, c)
	if err != nil {
		return invalidSession(err)
	}
	k.grant.Store(g) // the visitor may send as soon as the answer is there
	hello := k.stream.greeting("authenticated", g).Encode(chat.DialectWebSocket)
	if err := k.stream.write([]chat.Item{{Frame: hello}}); err != nil {
		return err
	}
	return k.stream.deliver(ctx, history)
}

// invalidSession gives a refused credential the text that WebSocket clients know.
func invalidSession(err error) error {
	ref, ok := errors.AsType[*chat.Refusal](err)
	if !ok || ref.Status != http.StatusUnauthorized {
		return err
	}
	known := *ref
	known.Message = chat.InvalidSession.Message
	return &known
}

// receiveMessage sends a visitor's message in a goroutine of its own; the answer may take minutes.
func (k *socket) receiveMessage(in inbound) {
	g, id := k.grant.Load(), either(in.ClientMessageID, in.ClientMessageID2)
	if g == nil {
		k.fault("not_authenticated", "Authenticate first")
		return
	}
	if k.sending.Add(1) > maxSends {
		k.sending.Add(-1)
		k.tellError(wireError{
			Code: chat.LimitReached.Code, Message: "Too many messages are being answered", ClientMessageID: id, RetryAfter: 1,
		})
		return
	}
	request := sendRequest{
		Text: either(in.Content, in.Message), ClientMessageID: id, MessageType: either(in.MessageType, "text"),
		Metadata: in.Metadata, Address: k.from.addr,
	}
	started := k.server.spawnSend(func(ctx context.Context) {
		defer k.sending.Add(-1)
		k.send(ctx, g, request)
	})
	if !started {
		k.sending.Add(-1)
	}
}

func (k *socket) send(ctx context.Context, g *chat.Grant, in sendRequest) {
	reply, ref := k.server.sendMessage(ctx, k.stream.gate.newest(g), in)
	if ref != nil {
		k.server.logStreamRefusal(k.stream, ref)
		k.tellError(wireError{
			Code: ref.Code, Message: ref.Message, ClientMessageID: in.ClientMessageID, RetryAfter: retrySeconds(ref.RetryAfter),
		})
		return
	}
	k.tell(chat.Control{Type: "ack", Data: ackData{in.ClientMessageID, reply.MessageID, reply.Status}, Flat: true})
}
