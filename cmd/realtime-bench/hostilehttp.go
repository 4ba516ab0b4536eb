package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// badToken asks one of the endpoints with a token of the right form that nobody was given.
func badToken(ctx context.Context, target string, from *source) (string, error) {
	token := wrongToken()
	switch rand.N(4) {
	case 0:
		return from.ask(ctx, target, "GET /temporary-chat-messages?session_token="+token, "")
	case 1:
		return from.ask(ctx, target, "POST /temporary-chat-ticket", `{"session_token":"`+token+`"}`)
	case 2:
		return from.ask(ctx, target, "POST /temporary-chat-handler", `{"message":"x","session_token":"`+token+`"}`)
	}
	return from.ask(ctx, target, "GET /temporary-chat-events?session_token="+token, "")
}

// badLink asks for a link that does not exist.
func badLink(ctx context.Context, target string, from *source) (string, error) {
	return from.ask(ctx, target, "POST /temporary-chat-api/validate", `{"token":"`+wrongToken()+`"}`)
}

// hangUp brings a token and does not wait for the answer.
func hangUp(ctx context.Context, target string, from *source) (string, error) {
	conn, err := open(ctx, target, from)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /temporary-chat-messages?session_token="+wrongToken()+" HTTP/1.1\r\nHost: x\r\n\r\n")
	return left, err
}

// encodedBody sends a body that has to be decoded before it can be measured.
func encodedBody(ctx context.Context, target string, from *source) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+target+"/temporary-chat-handler", strings.NewReader("\x1f\x8b"))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	return answered(from.client.Do(req))
}

// answered is the status of an answer, which is read to its end.
func answered(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	return strconv.Itoa(resp.StatusCode), nil
}

func giantBody(ctx context.Context, target string, from *source) (string, error) {
	body := strings.Repeat(" ", 128<<10)
	return raw(ctx, target, from, "POST /temporary-chat-handler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "+
		strconv.Itoa(len(body))+"\r\n\r\n"+body)
}

func giantHeader(ctx context.Context, target string, from *source) (string, error) {
	return raw(ctx, target, from, "GET /temporary-chat-events HTTP/1.1\r\nHost: x\r\nX-Filler: "+strings.Repeat("x", 128<<10)+"\r\n\r\n")
}

// raw writes a request at once and returns the status, also when the proxy answers before it has read all.
func raw(ctx context.Context, target string, from *source, text string) (string, error) {
	conn, err := open(ctx, target, from)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = io.WriteString(conn, text) // the answer tells
	}()
	defer func() { conn.Close(); <-wrote }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return strconv.Itoa(resp.StatusCode), nil
}

// open dials with a deadline for all that follows.
func open(ctx context.Context, target string, from *source) (net.Conn, error) {
	conn, err := from.dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// slowHeader sends a byte of a header now and then.
func slowHeader(ctx context.Context, target string, from *source) (string, error) {
	return drip(ctx, target, from, "GET /temporary-chat-events HTTP/1.1\r\nHost: x\r\nX-Slow: ")
}

// slowBody sends a byte of a body now and then.
func slowBody(ctx context.Context, target string, from *source) (string, error) {
	return drip(ctx, target, from,
		"POST /temporary-chat-handler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
}

// drip begins a request, goes on byte by byte and tells what ends it.
func drip(ctx context.Context, target string, from *source, beginning string) (string, error) {
	conn, err := open(ctx, target, from)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, beginning); err != nil {
		return "", err
	}
	dripping, cancel := context.WithCancel(ctx)
	dripped := make(chan struct{})
	go func() {
		defer close(dripped)
		_ = pace(dripping, 500*time.Millisecond, func(int) error { // the reader tells the end
			_, err := io.WriteString(conn, "x")
			return err
		})
	}()
	defer func() { cancel(); <-dripped }()
	return awaitCut(conn)
}

// silentConnection says nothing at all.
func silentConnection(ctx context.Context, target string, from *source) (string, error) {
	conn, err := open(ctx, target, from)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return awaitCut(conn)
}

// awaitCut reads until the proxy has closed the connection.
func awaitCut(conn net.Conn) (string, error) {
	text, err := io.ReadAll(io.LimitReader(conn, 1024))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return unanswered, nil
	case len(text) > 0:
		line, _, _ := strings.Cut(string(text), "\r\n")
		return line, nil
	}
	return cut, nil // by an end or a reset
}
