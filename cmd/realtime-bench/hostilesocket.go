package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

const (
	frameText   = 0x81 // FIN and text, RFC 6455 section 5.2
	frameRSV1   = 0x40 // compressed, when the extension was negotiated: RFC 7692 section 6
	frameMasked = 0x80
)

// onSocket opens a WebSocket without a credential, has frames written past the library and returns the close code.
func onSocket(ctx context.Context, target string, from *source, frames ...[]byte) (string, error) {
	conn, _, err := from.socket.DialContext(ctx, "ws://"+target+"/temporary-chat-websocket", nil)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.NetConn().SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for _, frame := range frames {
			if _, err := conn.NetConn().Write(frame); err != nil {
				return // the close code tells
			}
		}
	}()
	defer func() { conn.Close(); <-wrote }()
	return closeCode(conn)
}

// closeCode reads to the end.
func closeCode(conn *websocket.Conn) (string, error) {
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return unanswered, nil
		}
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
			return strconv.Itoa(closed.Code), nil
		}
		return "", err
	}
}

func badTokenSocket(ctx context.Context, target string, from *source) (string, error) {
	return onSocket(ctx, target, from, masked(frameText, []byte(`{"type":"authenticate","sessionToken":"`+wrongToken()+`"}`)))
}

// badTokenChannel joins with a token that nobody was given. The answer to that comes late, and the socket stays.
func badTokenChannel(ctx context.Context, target string, from *source) (string, error) {
	conn, _, err := from.socket.DialContext(ctx, "ws://"+target+"/realtime/v1/websocket?vsn=1.0.0", nil)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.NetConn().SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	join := `{"topic":"realtime:x","event":"phx_join","ref":"1","payload":{"config":{},"access_token":"` + wrongToken() + `"}}`
	if err := conn.WriteMessage(websocket.TextMessage, []byte(join)); err != nil {
		return "", err
	}
	_, text, err := conn.ReadMessage()
	if err == nil && bytes.Contains(text, []byte(`"status":"error"`)) {
		return "refused", nil
	}
	if err == nil {
		return string(text), nil
	}
	return closeCode(conn)
}

func halfOpenSocket(ctx context.Context, target string, from *source) (string, error) {
	return onSocket(ctx, target, from)
}

func giantFrame(ctx context.Context, target string, from *source) (string, error) {
	const size, piece = 5_000_000, 50_000
	head := binary.BigEndian.AppendUint64([]byte{frameText, frameMasked | 127}, size)
	frames := [][]byte{append(head, 0, 0, 0, 0)}
	zeros := make([]byte, piece)
	for range size / piece {
		frames = append(frames, zeros)
	}
	return onSocket(ctx, target, from, frames...)
}

func compressedFrame(ctx context.Context, target string, from *source) (string, error) {
	return onSocket(ctx, target, from, masked(frameText|frameRSV1, []byte("\xaa\x56\x2a\xa9")))
}

func unmaskedFrame(ctx context.Context, target string, from *source) (string, error) {
	return onSocket(ctx, target, from, []byte{frameText, 2, '{', '}'})
}

// masked is one short frame with a mask of zeros. text has fewer than 126 bytes.
func masked(first byte, text []byte) []byte {
	return append([]byte{first, frameMasked | byte(len(text)), 0, 0, 0, 0}, text...)
}
