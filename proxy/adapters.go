package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
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

// sessionEndings ends sessions in the database and tells the authoriser, which has their streams closed.
type sessionEndings struct {
	client   *rest.Client
	sessions *session.Authorizer
	log      *slog.Logger
}

func (s sessionEndings) SessionChanged(id, status, endReason string, endedAt time.Time) {
	s.sessions.SessionChanged(id, status, endReason, endedAt)
}

func (s sessionEndings) EndSession(ctx context.Context, v *chat.Visitor, e transport.SessionEnd) (time.Time, bool, error) {
	rows, err := s.client.Sessions(ctx, []string{v.SessionID})
	switch {
	case err != nil:
		return time.Time{}, false, err
	case len(rows) == 0:
		s.sessions.SessionDeleted(v.SessionID)
		return time.Time{}, false, nil
	case rows[0].Status != "active":
		s.SessionChanged(v.SessionID, rows[0].Status, rows[0].EndReason, rows[0].EndedAt)
		return rows[0].EndedAt, false, nil
	}
	at := s.client.Now().Truncate(time.Microsecond)
	if at.Before(rows[0].StartedAt) { // the clock is an estimate, and the table refuses an end before the start
		at = rows[0].StartedAt
	}
	ended, err := s.client.EndSession(ctx, v.SessionID, endColumns(e, at))
	switch {
	case err != nil:
		return time.Time{}, false, err
	case !ended:
		s.SessionChanged(v.SessionID, "", "", time.Time{}) // somebody else was faster: its row is read again
		return time.Time{}, false, nil
	}
	s.SessionChanged(v.SessionID, e.Status, e.Reason, at)
	if id := rows[0].ConversationSessionID; id != "" {
		if err := s.client.CompleteConversationSession(ctx, id, at); err != nil {
			s.log.Warn("conversation session of an ended session not completed", "session_id", v.SessionID, "err", err)
		}
	}
	return at, true, nil
}

func endColumns(e transport.SessionEnd, at time.Time) map[string]any {
	columns := map[string]any{"status": e.Status, "end_reason": e.Reason, "ended_at": at}
	if e.Rating != 0 {
		columns["satisfaction_rating"] = e.Rating
	}
	if e.Feedback != "" {
		columns["feedback_text"] = e.Feedback
	}
	return columns
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

func (s messageStore) CountMessages(ctx context.Context, v *chat.Visitor) (int, error) {
	return s.client.CountVisitorMessages(ctx, v.ConversationID, v.SessionID)
}
