package proxytest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Socket is an open WebSocket, read by one goroutine at a time.
type Socket struct {
	conn *websocket.Conn
	// Cursor is that of the last frame that had one.
	Cursor string
}

// Frame is one JSON message from the proxy.
type Frame struct {
	Type    string          `json:"type"`
	Message json.RawMessage `json:"message"`
	Data    json.RawMessage `json:"data"`
	Cursor  string          `json:"cursor"`
	Raw     string          `json:"-"`
}

// Dial opens a WebSocket without authenticating.
func (v *Visitor) Dial(ctx context.Context, path string) (*Socket, error) {
	dialer := *websocket.DefaultDialer
	dialer.TLSClientConfig = v.TLS
	if v.Dialer != nil {
		dialer.NetDialContext, dialer.Proxy = v.Dialer, nil
	}
	conn, resp, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(v.Base, "http")+path, nil)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("dial: status %d: %w", resp.StatusCode, err)
		}
		return nil, err
	}
	return &Socket{conn: conn}, nil
}

// Socket opens a WebSocket and authenticates, with a cursor or history if they are given.
func (v *Visitor) Socket(ctx context.Context, cursor string, history int) (*Socket, error) {
	s, err := v.Dial(ctx, "/temporary-chat-websocket")
	if err != nil {
		return nil, err
	}
	hello := map[string]any{"type": "authenticate", "sessionToken": v.Token}
	if cursor != "" {
		hello["cursor"] = cursor
	}
	if history > 0 {
		hello["history"] = history
	}
	if err := s.Send(hello); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Send writes one JSON message.
func (s *Socket) Send(v any) error { return s.conn.WriteJSON(v) }

// Next returns the next frame; the error of a closed socket is a *websocket.CloseError. It waits until the context ends.
func (s *Socket) Next(ctx context.Context) (Frame, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := s.conn.SetReadDeadline(deadline); err != nil {
			return Frame{}, err
		}
	}
	_, raw, err := s.conn.ReadMessage()
	if err != nil {
		return Frame{}, err
	}
	f := Frame{Raw: string(raw)}
	if err := json.Unmarshal(raw, &f); err != nil {
		// An error frame has a text under message.
		var plain struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(raw, &plain) != nil {
			return f, fmt.Errorf("frame: %w", err)
		}
		f.Type = plain.Type
	}
	if f.Cursor != "" {
		s.Cursor = f.Cursor
	}
	return f, nil
}

// Until returns the next frame of a type and drops those before it.
func (s *Socket) Until(ctx context.Context, kind string) (Frame, error) {
	for {
		f, err := s.Next(ctx)
		if err != nil || f.Type == kind {
			return f, err
		}
	}
}

// ChatMessage returns the next message.
func (s *Socket) ChatMessage(ctx context.Context) (Message, error) {
	f, err := s.Until(ctx, "message")
	if err != nil {
		return Message{}, err
	}
	var m Message
	err = json.Unmarshal(f.Message, &m)
	return m, err
}

// Close closes the socket.
func (s *Socket) Close() {
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""),
		time.Now().Add(time.Second))
	_ = s.conn.Close()
}
