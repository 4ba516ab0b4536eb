package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/functions"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// functionCaller is the functions client as transport wants it.
type functionCaller struct{ client *functions.Client }

func (f functionCaller) Call(
	ctx context.Context, function, path, method string, header http.Header, body []byte,
) (*transport.FunctionReply, error) {
	r, err := f.client.Call(ctx, functions.Request{Function: function, Path: path, Method: method, Header: header, Body: body})
	if err != nil {
		return nil, err
	}
	return &transport.FunctionReply{Status: r.Status, Header: r.Header, Body: r.Body}, nil
}

// messageStore is the PostgREST client as transport wants it.
type messageStore struct{ client *rest.Client }

func (s messageStore) InsertMessage(ctx context.Context, row map[string]any) (json.RawMessage, error) {
	stored, err := s.client.InsertMessage(ctx, row)
	if rest.Constraint(err) || rest.Conflict(err) {
		err = fmt.Errorf("%w: %w", transport.ErrRowRefused, err)
	}
	return stored, err
}

func (s messageStore) MessageByClientID(ctx context.Context, v *chat.Visitor, id string) (json.RawMessage, error) {
	row, err := s.client.MessageByClientID(ctx, v.ConversationID, v.SessionID, id)
	if errors.Is(err, rest.ErrNotFound) {
		return nil, nil
	}
	return row, err
}
