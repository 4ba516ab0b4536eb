package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// replyRow is the agent's row with the text of the function's answer.
func replyRow(session string) *chat.Row {
	row := rigRow(session, 1)
	row.Content.Text = "Hello\n"
	return row
}

func assistantID(t *testing.T, body []byte) string {
	t.Helper()
	var answer struct {
		ID string `json:"assistant_message_id"`
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	return answer.ID
}

func TestRowBeforeReplyNamesTheAssistantsMessage(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	visitor := watch(g.rig)
	g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
		g.hub.Publish(replyRow(rigSession), false)
		return &transport.FunctionReply{Status: 200, Body: []byte(sent)}, nil
	}
	g.catching.catchUp = func() error { return errors.New("must not be needed") }
	w := do(g.rig, "POST", sendPath, message("a"))
	assert.Equal(t, "row-1", assistantID(t, w.Body.Bytes()))
	require.Len(t, visitor.messages(), 1, "the reply is shown once")
	assert.Empty(t, g.logs.String())
}

func TestReplyBeforeRowIsFoundByReadingBack(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	visitor := watch(g.rig)
	g.catching.catchUp = func() error {
		g.hub.Recover(rigConversation, []*chat.Row{replyRow(rigSession)}, nil, nil)
		return nil
	}
	w := do(g.rig, "POST", sendPath, message("a"))
	assert.Equal(t, "row-1", assistantID(t, w.Body.Bytes()))
	shown := visitor.messages()
	require.Len(t, shown, 1)
	assert.False(t, shown[0].Unstored)
}

func TestReplyWithoutARowIsGivenToTheSessionOnly(t *testing.T) {
	for name, catchUp := range map[string]func() error{
		"not found":            nil,
		"cannot be looked for": func() error { return chat.RefuseUnavailable(0, errors.New("code network")) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, sent, nil)
			g.catching.catchUp = catchUp
			visitor := watch(g.rig)
			g.hub.Publish(replyRow("session-2"), false) // the same words to another visitor
			w := do(g.rig, "POST", sendPath, message("a"))
			shown := visitor.messages()
			require.Len(t, shown, 1)
			assert.True(t, shown[0].Unstored)
			assert.Equal(t, "Hello", shown[0].Content)
			assert.Equal(t, assistantID(t, w.Body.Bytes()), shown[0].ID)
			want := uuid.NewSHA1(uuid.MustParse("11111111-1111-4111-8111-111111111111"), []byte("reply"))
			assert.Equal(t, want.String(), shown[0].ID)
		})
	}
}

func TestEarlierRowWithTheSameWordsIsNotTheReply(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	visitor := watch(g.rig)
	g.hub.Publish(replyRow(rigSession), false)
	require.Len(t, visitor.messages(), 1)
	w := do(g.rig, "POST", sendPath, message("a"))
	assert.NotEqual(t, "row-1", assistantID(t, w.Body.Bytes()))
	require.Len(t, visitor.messages(), 1)
}

func TestInsertStoresARowThatTheTableTakes(t *testing.T) {
	g := newSendRig(t, 200, sent, func(o *transport.Options) { o.SendVia = transport.SendViaInsert })
	session := "50000000-0000-4000-8000-000000000001"
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
		return &chat.Grant{Token: rigToken, Visitor: &chat.Visitor{
			SessionID: session, ConversationID: "c", ConversationSessionID: "cs", LinkID: "l", AgentName: "Ada",
		}}, nil
	}
	var rows []map[string]any
	g.store.insert = func(_ context.Context, row map[string]any) error { rows = append(rows, row); return nil }
	w := do(g.rig, "POST", sendPath, message(" hi ", "clientMessageId", clientID, "metadata", `{"locale":"de","is_anonymous_user":false}`))
	require.Equal(t, 200, w.Code, w.Body)
	require.Len(t, rows, 1)
	id := uuid.NewSHA1(uuid.MustParse(session), []byte("c-1")).String()
	got, err := json.Marshal(rows[0])
	require.NoError(t, err)
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q,"conversation_id":"c","session_id":"cs","role":"system","sender_user_id":null,
		"sender_agent_id":null,"content":{"type":"text","text":"hi","metadata":{"temporary_chat":true,"temp_session_id":%q,
		"temp_link_id":"l","original_role":"user","is_anonymous_user":true,"client_message_id":"c-1","locale":"de"}}}`, id, session), string(got))
	assert.JSONEq(t, fmt.Sprintf(`{"success":true,"message_id":%q,"conversation_id":"c","session_id":%q,"agent_name":"Ada",
		"processed_at":"2026-01-02T03:04:05.000Z","response":null,"client_message_id":"c-1"}`, id, session), w.Body.String())
	assert.Empty(t, g.functions.all())

	rows[0]["created_at"] = rigTime // the table's default
	got, err = json.Marshal(rows[0])
	require.NoError(t, err)
	row, err := chat.DecodeRow(got, nil)
	require.NoError(t, err)
	m, verdict := chat.Rule{}.Judge(&chat.Visitor{SessionID: session, ConversationID: "c"}, row, nil)
	assert.Equal(t, chat.Granted, verdict, "the visitor sees what they wrote")
	assert.Equal(t, "user hi c-1", m.Role+" "+m.Content+" "+m.ClientMessageID)
}

func TestInsertWithoutClientIDMakesANewRowEachTime(t *testing.T) {
	g := newSendRig(t, 200, sent, func(o *transport.Options) { o.SendVia = transport.SendViaInsert })
	ids := map[any]bool{}
	g.store.insert = func(_ context.Context, row map[string]any) error {
		ids[row["id"]] = true
		assert.Equal(t, rigSession, row["session_id"], "without a conversation session the session's own id")
		return nil
	}
	for range 2 {
		require.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code)
	}
	assert.Len(t, ids, 2)
}

func TestInsertThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		status int
		answer string
	}{
		"refused": {fmt.Errorf("insert message: %w: SECRET", transport.ErrRowRefused), 422,
			`{"error":"The message could not be stored","code":"message_refused"}`},
		"unreachable": {errors.New("code network"), 503,
			`{"error":"The service is temporarily unavailable","code":"upstream_unavailable","retry_after":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, sent, func(o *transport.Options) { o.SendVia = transport.SendViaInsert })
			calls := 0
			g.store.insert = func(context.Context, map[string]any) error { calls++; return test.err }
			for range 2 {
				w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
				assert.Equal(t, test.status, w.Code)
				assert.JSONEq(t, test.answer, withoutRequestID(t, w.Body.String()))
			}
			assert.Equal(t, 2, calls, "a failed send may be repeated")
		})
	}
}
