package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	// maxWires is how many connections of a source wait for the next request.
	maxWires = 4
	// maxAllWires is how many may wait at all sources together. Where there could be more none is kept: a process has so many descriptors.
	maxAllWires = 4000
)

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
	status, keep, err = w.answer()
	return status, err
}

// answer reads the next answer to its end. kept says that the proxy waits for another request. An answer without a Content-Length is an
// error: the proxy refuses with one.
func (w *wire) answer() (status string, kept bool, err error) {
	line, err := w.line()
	if err != nil {
		return "", false, err
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	if len(rest) < 3 || string(version) != "HTTP/1.1" {
		return "", false, errors.New("not an answer of HTTP/1.1")
	}
	status = string(rest[:3])
	length, kept := -1, true
	for {
		if line, err = w.line(); err != nil {
			return "", false, err
		}
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", false, err
			}
		case "Connection":
			kept = string(value) != "close"
		}
	}
	if length < 0 {
		return "", false, errors.New("no Content-Length")
	}
	_, err = w.r.Discard(length)
	return status, kept && err == nil, err
}

// line is the next line, without its end; it is valid until the next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
