package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// joinTimeout bounds a visitor's way to the first event of the stream.
const joinTimeout = 20 * time.Second

// visitor is a page with an open stream.
type visitor struct {
	place  place
	from   *source
	socket bool // a WebSocket, else an event stream
}

// link is an open stream. next returns one line or message of it.
type link struct {
	next  func() ([]byte, error)
	close func()
}

// join opens the stream and returns when the proxy has granted it.
func (v *visitor) join(ctx context.Context, target string) (*link, error) {
	open := v.openEvents
	if v.socket {
		open = v.openSocket
	}
	return open(ctx, target)
}

func (v *visitor) openEvents(ctx context.Context, target string) (*link, error) {
	conn, err := v.from.dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	text := "GET /temporary-chat-events HTTP/1.1\r\nHost: " + target + "\r\nAccept: text/event-stream\r\nAuthorization: Bearer " + v.place.token + "\r\n\r\n"
	lines := bufio.NewReaderSize(conn, 2048)
	err = within(conn, joinTimeout, func() error {
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
		return awaitConnected(lines)
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &link{next: func() ([]byte, error) { return readLine(lines) }, close: func() { conn.Close() }}, nil
}

// awaitConnected reads the head and the first event.
func awaitConnected(lines *bufio.Reader) error {
	status, err := readLine(lines)
	if err != nil {
		return err
	}
	if !bytes.Contains(status, []byte(" 200 ")) {
		return fmt.Errorf("refused: %s", bytes.TrimSpace(status))
	}
	for {
		line, err := readLine(lines)
		if err != nil {
			return err
		}
		if name, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			if name = bytes.TrimSpace(name); string(name) == "connected" {
				return nil
			}
			data, _ := readLine(lines) // the name alone says enough
			return fmt.Errorf("refused: %s %s", name, bytes.TrimSpace(data))
		}
	}
}

// readLine returns a line, or the start of one that is longer than the buffer.
func readLine(lines *bufio.Reader) ([]byte, error) {
	line, err := lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return line, err
}

func (v *visitor) openSocket(ctx context.Context, target string) (*link, error) {
	conn, _, err := v.from.socket.DialContext(ctx, "ws://"+target+"/temporary-chat-websocket", nil)
	if err != nil {
		return nil, err
	}
	conn.SetPingHandler(func(payload string) error { // the library's own gives up after a second
		return conn.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(joinTimeout))
	})
	next := func() ([]byte, error) {
		_, text, err := conn.ReadMessage()
		return text, err
	}
	err = within(conn.NetConn(), joinTimeout, func() error {
		if err := conn.WriteJSON(map[string]string{"type": "authenticate", "sessionToken": v.place.token}); err != nil {
			return err
		}
		text, err := next()
		if err == nil && !bytes.Contains(text, []byte(`"type":"authenticated"`)) {
			err = fmt.Errorf("refused: %s", text)
		}
		return err
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &link{next: next, close: func() { conn.Close() }}, nil
}

// within gives do a deadline on the connection.
func within(conn net.Conn, d time.Duration, do func() error) error {
	if err := conn.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// committedAt finds the stamp of a row.
func committedAt(text []byte) (at time.Time, ok bool) {
	_, after, found := bytes.Cut(text, []byte(stamp))
	if !found {
		return at, false
	}
	end := bytes.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return at, false
	}
	n, err := strconv.ParseInt(string(after[:end]), 10, 64)
	return time.Unix(0, n), err == nil
}

// send posts a message of the visitor and returns an error unless it was accepted.
func (v *visitor) send(ctx context.Context, target string) error {
	body := strings.NewReader(`{"message":"Is anybody there?","session_token":` + strconv.Quote(v.place.token) + `}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+target+"/temporary-chat-handler", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := v.from.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("refused: status %d: %s", resp.StatusCode, text)
	}
	return err
}
