package proxytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// Visitor is one session's way to a proxy.
type Visitor struct {
	Base  string // of the visitor port, http://host:port
	Token string // session token
	// Client sends the requests; nil is http.DefaultClient.
	Client *http.Client
	// Dialer opens the connections of WebSockets; nil is the network.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is for the WebSockets of an https Base; nil trusts what the machine trusts.
	TLS *tls.Config
}

func (v *Visitor) client() *http.Client {
	if v.Client != nil {
		return v.Client
	}
	return http.DefaultClient
}

// Message is the public form of a row, as every transport shows it.
type Message struct {
	ID              string  `json:"id"`
	Role            string  `json:"role"`
	Content         string  `json:"content"`
	Timestamp       string  `json:"timestamp"`
	ConversationID  string  `json:"conversation_id"`
	AgentID         *string `json:"agentId"`
	Kind            string  `json:"kind"`
	ClientMessageID string  `json:"client_message_id"`
	Recovered       bool    `json:"recovered"`
	Replayed        bool    `json:"replayed"`
	Unstored        bool    `json:"unstored"`
}

// Reply is an HTTP answer with a JSON body.
type Reply struct {
	Status int
	Header http.Header
	Body   map[string]any
}

// PollReply is the answer of the polling endpoint.
type PollReply struct {
	Status   int
	Code     string            `json:"code"`
	Messages []Message         `json:"messages"`
	Updates  []json.RawMessage `json:"updates"`
	Cursor   string            `json:"cursor"`
	Resumed  bool              `json:"resumed"`
	More     bool              `json:"more"`
	State    string            `json:"state"`
}

// Poll asks for messages: without a cursor the newest, with one what was missed, waiting up to wait seconds for something.
func (v *Visitor) Poll(ctx context.Context, cursor string, limit, wait int) (*PollReply, error) {
	q := url.Values{}
	for key, value := range map[string]string{"cursor": cursor, "limit": positive(limit), "wait": positive(wait)} {
		if value != "" {
			q.Set(key, value)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Base+"/temporary-chat-messages?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+v.Token)
	status, body, _, err := v.do(req)
	if err != nil {
		return nil, err
	}
	reply := &PollReply{Status: status}
	if err := json.Unmarshal(body, reply); err != nil {
		return nil, fmt.Errorf("poll: status %d: %w", status, err)
	}
	return reply, nil
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// Send posts a message; clientMessageID may be empty.
func (v *Visitor) Send(ctx context.Context, text, clientMessageID string) (*Reply, error) {
	body := map[string]any{"session_token": v.Token, "message": text}
	if clientMessageID != "" {
		body["clientMessageId"] = clientMessageID
	}
	return v.Post(ctx, "/temporary-chat-handler", body)
}

// Post sends a JSON body to a path of the visitor port.
func (v *Visitor) Post(ctx context.Context, path string, body any) (*Reply, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Base+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	status, answer, header, err := v.do(req)
	if err != nil {
		return nil, err
	}
	reply := &Reply{Status: status, Header: header}
	if err := json.Unmarshal(answer, &reply.Body); err != nil {
		return nil, fmt.Errorf("post %s: status %d: %w", path, status, err)
	}
	return reply, nil
}

func (v *Visitor) do(req *http.Request) (status int, body []byte, header http.Header, err error) {
	resp, err := v.client().Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, resp.Header, err
}
