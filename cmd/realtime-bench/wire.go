package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// maxWires is how many connections of a source wait for the next request.
const maxWires = 4

// wire is a connection on which requests are written by hand: the goroutines of a client of net/http would compete for the processors with
// those who are measured.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
}

// ask sends a request with a JSON body, or none, and returns the status of the answer, which is read to its end. The connection is kept if
// the proxy keeps it. start is the method and the target of the request line.
func (s *source) ask(ctx context.Context, target, start, body string) (string, error) {
	text := start + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if body != "" {
		text += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	text += "\r\n" + body
	select {
	case w := <-s.wires:
		if status, err := s.exchange(w, text); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return status, err
		} // it was closed meanwhile
	default:
	}
	conn, err := open(ctx, target, s)
	if err != nil {
		return "", err
	}
	return s.exchange(&wire{conn, bufio.NewReaderSize(conn, 1024)}, text)
}

func (s *source) exchange(w *wire, text string) (status string, err error) {
	keep := false
	defer func() {
		if keep {
			select {
			case s.wires <- w:
				return
			default:
			}
		}
		w.conn.Close()
	}()
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(w.conn, text); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return "", err
	}
	status, err = answered(resp, nil)
	keep = err == nil && !resp.Close
	return status, err
}
