package proxytest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Event is one event of a text/event-stream. An unnamed event has Name "".
type Event struct {
	ID, Name, Data string
}

// Events is an open event stream, read by one goroutine at a time.
type Events struct {
	Status int
	Header http.Header
	body   io.ReadCloser
	lines  *bufio.Reader
	// LastID is the id of the last event that had one.
	LastID string
}

// EventsOptions say how a stream is opened.
type EventsOptions struct {
	Cursor  string // sent as Last-Event-ID
	History int
	Path    string // default /temporary-chat-events
	Query   url.Values
}

// Events opens a stream. A status other than 200 is not an error: see Status.
func (v *Visitor) Events(ctx context.Context, o EventsOptions) (*Events, error) {
	if o.Path == "" {
		o.Path = "/temporary-chat-events"
	}
	q := url.Values{"session_token": {v.Token}}
	for key, values := range o.Query {
		q[key] = values
	}
	if o.History > 0 {
		q.Set("history", positive(o.History))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Base+o.Path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if o.Cursor != "" {
		req.Header.Set("Last-Event-ID", o.Cursor)
	}
	resp, err := v.client().Do(req)
	if err != nil {
		return nil, err
	}
	return &Events{Status: resp.StatusCode, Header: resp.Header, body: resp.Body, lines: bufio.NewReader(resp.Body)}, nil
}

// Next returns the next event; io.EOF when the proxy has ended the stream.
func (e *Events) Next() (Event, error) {
	var ev Event
	empty := true
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return Event{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" && !empty {
			return ev, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			ev.ID, e.LastID = value, value
		case "event":
			ev.Name = value
		case "data":
			ev.Data, empty = ev.Data+value, false
		}
	}
}

// Until returns the next event with the name ("" for messages) and drops those before it.
func (e *Events) Until(name string) (Event, error) {
	for {
		ev, err := e.Next()
		if err != nil || ev.Name == name {
			return ev, err
		}
	}
}

// Message returns the next message of a stream in message form.
func (e *Events) Message() (Message, error) {
	ev, err := e.Until("")
	if err != nil {
		return Message{}, err
	}
	var m Message
	if err := json.Unmarshal([]byte(ev.Data), &m); err != nil {
		return m, fmt.Errorf("message event: %w", err)
	}
	return m, nil
}

// Close ends the stream from the visitor's side.
func (e *Events) Close() { _ = e.body.Close() }
