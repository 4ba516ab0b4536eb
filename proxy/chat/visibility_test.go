package chat_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// shown is what a visitor sees of an example row: "" hidden, "?" waits for a scope, else the role.
func shown(t testing.TB, r chat.Rule, v *chat.Visitor, row *chat.Row, scope *chat.Scope) string {
	t.Helper()
	m, verdict := r.Judge(v, row, scope)
	switch verdict {
	case chat.NeedsScope:
		assert.Zero(t, m, "a message beside a verdict that is not Granted")
		return "?"
	case chat.Hidden:
		assert.Zero(t, m, "a message beside a verdict that is not Granted")
		return ""
	}
	assert.Equal(t, row.ID, m.ID)
	assert.Nil(t, m.UserID)
	return m.Role
}

func TestRuleShowsTheExampleRowsToWhomTheyBelong(t *testing.T) {
	session := chat.Rule{Mode: chat.ModeSession}
	sessionTrusting := chat.Rule{Mode: chat.ModeSession, TrustSenders: true}
	conversation := chat.Rule{Mode: chat.ModeConversation}
	trusting := chat.Rule{Mode: chat.ModeConversation, TrustSenders: true}

	unknown := visitorS()
	unknown.LinkKnown = false
	crowded := isolatedScope()
	crowded.Sessions = append(crowded.Sessions, chat.SessionRef{ID: idSOther, ConversationSessionID: idCSO})
	sharedSession := isolatedScope()
	sharedSession.Sessions = append(sharedSession.Sessions, chat.SessionRef{ID: idSOther, ConversationSessionID: idCS})
	owned := isolatedScope()
	owned.Anonymous = map[string]bool{idCS: false}
	ownedAndCrowded := &chat.Scope{Sessions: crowded.Sessions}
	shared := &chat.Scope{
		Sessions: []chat.SessionRef{
			{ID: idS2, ConversationSessionID: idCS2}, {ID: idSOther, ConversationSessionID: idCSO},
		},
		Anonymous: map[string]bool{idCS2: true, idCSO: true},
	}

	// Rows that are not named are hidden.
	tests := []struct {
		name  string
		rule  chat.Rule
		who   *chat.Visitor
		scope *chat.Scope
		want  string
	}{
		{"S with no scope reading", session, visitorS(), nil,
			"m01 assistant m02 user m03 ? m09 assistant m10 ? m12 ?"},
		{"S alone in the conversation", session, visitorS(), isolatedScope(),
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m12 assistant"},
		{"S beside another session with its own conversation session", session, visitorS(), crowded,
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m12 assistant"},
		{"S whose conversation session another session uses too", session, visitorS(), sharedSession,
			"m01 assistant m02 user m09 assistant"},
		{"S whose conversation session belongs to a signed-in user, alone", session, visitorS(), owned,
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m12 assistant"},
		{"S whose conversation session belongs to a signed-in user, not alone", session, visitorS(), ownedAndCrowded,
			"m01 assistant m02 user m09 assistant"},
		{"S with an empty scope reading", session, visitorS(), &chat.Scope{},
			"m01 assistant m02 user m09 assistant"},
		{"S when the link is unknown", session, unknown, isolatedScope(),
			"m01 assistant m02 user m09 assistant"},
		{"S when the link is unknown and nothing was read", session, unknown, nil,
			"m01 assistant m02 user m09 assistant"},
		{"S in session mode is not helped by trust", sessionTrusting, visitorS(), isolatedScope(),
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m12 assistant"},
		{"S2 in the shared conversation", session, visitorS2(), shared, ""},
		{"S2 in the shared conversation with no reading", session, visitorS2(), nil, ""},
		{"S-other in the shared conversation", session, visitorOther(), shared, "m06 user"},
		{"S-other with no reading", session, visitorOther(), nil, "m06 user"},
		{"S in conversation mode", conversation, visitorS(), nil,
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m12 assistant"},
		{"S2 in conversation mode", conversation, visitorS2(), nil, "m05 assistant m06 user"},
		{"S-other in conversation mode", conversation, visitorOther(), nil, "m05 assistant m06 user"},
		{"S in conversation mode that trusts senders", trusting, visitorS(), nil,
			"m01 assistant m02 user m03 assistant m09 assistant m10 assistant m11 user m12 assistant m13 assistant"},
		{"S2 in conversation mode that trusts senders", trusting, visitorS2(), nil, "m04 user m05 assistant m06 user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for i := 1; i <= 13; i++ {
				id := fmt.Sprintf("m%02d", i)
				if role := shown(t, tt.rule, tt.who, decodeExample(t, exampleRows[id]), tt.scope); role != "" {
					got = append(got, id, role)
				}
			}
			assert.Equal(t, tt.want, strings.Join(got, " "))
		})
	}
}

func TestRuleTurnsTheExampleRowsIntoTheirPublicForm(t *testing.T) {
	want := map[string]string{
		"m01": `{"id":"m01","role":"assistant","content":"Hello! What did you think of the pilot?","timestamp":"2026-03-02T10:00:00.101Z","conversation_id":"C1","agentId":"A","userId":null,"is_initial_greeting":true}`,
		"m02": `{"id":"m02","role":"user","content":"Mostly good, login was slow","timestamp":"2026-03-02T10:00:20.5Z","conversation_id":"C1","agentId":null,"userId":null,"client_message_id":"c-17"}`,
		"m03": `{"id":"m03","role":"assistant","content":"Thanks. How slow, roughly?","timestamp":"2026-03-02T10:00:24.007Z","conversation_id":"C1","agentId":"A","userId":null}`,
		"m09": `{"id":"m09","role":"assistant","content":"Sorry, something went wrong. Please try again.","timestamp":"2026-03-02T10:03:00Z","conversation_id":"C1","agentId":"A","userId":null,"kind":"error"}`,
		"m10": `{"id":"m10","role":"assistant","content":"See chart","timestamp":"2026-03-02T10:04:00Z","conversation_id":"C1","agentId":"A","userId":null}`,
		"m12": `{"id":"m12","role":"assistant","content":"plain legacy string","timestamp":"2026-03-02T11:01:00Z","conversation_id":"C1","agentId":"A","userId":null}`,
	}
	for id, text := range want {
		t.Run(id, func(t *testing.T) {
			m, verdict := chat.Rule{}.Judge(visitorS(), decodeExample(t, exampleRows[id]), isolatedScope())
			require.Equal(t, chat.Granted, verdict)
			assert.Equal(t, placeholders.Replace(text), jsonOf(t, m))
		})
	}
}

func TestRuleHidesForgedRows(t *testing.T) {
	row := func(sender, agent, role, content string) string {
		return fmt.Sprintf(`{"id":"f1","conversation_id":"C1","session_id":"CS","role":%q,"sender_user_id":%s,"sender_agent_id":%s,`+
			`"content":%s,"created_at":"2026-03-02T10:00:00Z"}`, role, sender, agent, content)
	}
	tagged := func(metadata string) string {
		return row(`null`, `"A"`, "assistant", `{"type":"text","text":"hi","metadata":`+metadata+`}`)
	}
	mine := `{"type":"text","text":"hi","metadata":{"temp_session_id":"S","is_anonymous_user":true}}`
	tests := []struct{ name, row, want string }{
		{"the visitor's own tag", tagged(`{"temp_session_id":"S"}`), "assistant"},
		{"the old tag", tagged(`{"session_id":"S"}`), "assistant"},
		{"another session's tag", tagged(`{"temp_session_id":"S-other"}`), ""},
		{"another session's old tag", tagged(`{"session_id":"S-other"}`), ""},
		{"another session's tag beside the visitor's old one", tagged(`{"temp_session_id":"S-other","session_id":"S"}`), ""},
		{"a number for a tag", tagged(`{"temp_session_id":7}`), ""},
		{"an array for a tag", tagged(`{"temp_session_id":["S"]}`), ""},
		{"an object for a tag", tagged(`{"temp_session_id":{"id":"S"}}`), ""},
		{"true for a tag", tagged(`{"temp_session_id":true}`), ""},
		{"a tag that no number type holds", tagged(`{"temp_session_id":1e999}`), ""},
		{"another session's tag beside a number that no type holds", tagged(`{"temp_session_id":"S-other","x":1e999}`), ""},
		{"another session's tag beside a flag of the wrong type", tagged(`{"temp_session_id":"S-other","is_anonymous_user":1e999}`), ""},
		{"the tag with a space", tagged(`{"temp_session_id":" S"}`), ""},
		{"another session's tag, and the visitor's under a key in other case",
			tagged(`{"temp_session_id":"S-other","Temp_Session_ID":"S"}`), ""},
		{"another session's tag, and metadata under a key in other case", row(`null`, `"A"`, "assistant",
			`{"type":"text","text":"hi","metadata":{"temp_session_id":"S-other"},"Metadata":{"temp_session_id":"S"}}`), ""},
		{"a null tag names no session", tagged(`{"temp_session_id":null}`), "assistant"},
		{"an identified sender with the visitor's tag", row(`"X"`, `null`, "user", mine), ""},
		{"an identified sender beside the agent", row(`"X"`, `"A"`, "assistant", mine), ""},
		{"another agent with the visitor's tag", row(`null`, `"B"`, "assistant", mine), ""},
		{"an assistant row of nobody", row(`null`, `null`, "assistant", mine), ""},
		{"a tool row of the agent with the visitor's tag", row(`null`, `"A"`, "tool", mine), ""},
		{"a role nobody knows", row(`null`, `null`, "developer", mine), ""},
		{"a visitor's row in a relaxed database", row(`null`, `null`, "user", mine), "user"},
		{"a system row that only looks like a visitor's", row(`null`, `null`, "system",
			`{"type":"text","text":"hi","metadata":{"temp_session_id":"S","is_anonymous_user":"true","original_role":"assistant"}}`), ""},
		{"a system row of the agent with the visitor's tag", row(`null`, `"A"`, "system", mine), ""},
		{"blank text", row(`null`, `"A"`, "assistant", `{"type":"text","text":" \n\t\u2003"}`), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, shown(t, chat.Rule{}, visitorS(), decodeExample(t, tt.row), isolatedScope()))
		})
	}
	t.Run("another conversation", func(t *testing.T) {
		text := strings.Replace(tagged(`{"temp_session_id":"S"}`), `"C1"`, `"C2"`, 1)
		for _, rule := range []chat.Rule{{}, {Mode: chat.ModeConversation, TrustSenders: true}} {
			assert.Empty(t, shown(t, rule, visitorS(), decodeExample(t, text), isolatedScope()))
		}
	})
	t.Run("no conversation on either side", func(t *testing.T) {
		v, r := visitorS(), decodeExample(t, tagged(`{"temp_session_id":"S"}`))
		v.ConversationID, r.ConversationID = "", ""
		assert.Empty(t, shown(t, chat.Rule{}, v, r, isolatedScope()))
	})
	t.Run("no session and no agent known", func(t *testing.T) {
		v := &chat.Visitor{ConversationID: idC1, LinkKnown: true}
		text := `{"id":"f","conversation_id":"C1","session_id":"","role":"assistant","sender_user_id":null,"sender_agent_id":null,` +
			`"content":"hi","created_at":"2026-03-02T10:00:00Z"}`
		assert.Empty(t, shown(t, chat.Rule{}, v, decodeExample(t, text), isolatedScope()))
	})
	t.Run("nobody", func(t *testing.T) {
		assert.Empty(t, shown(t, chat.Rule{}, nil, decodeExample(t, exampleRows["m01"]), isolatedScope()))
	})
}

// statedRule is the rule for ModeSession written down again, from the words of the contract and on the record's JSON.
func statedRule(v *chat.Visitor, record map[string]any, scope *chat.Scope) (role, text string) {
	str := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	content, _ := record["content"].(map[string]any)
	metadata, _ := content["metadata"].(map[string]any)

	// who wrote it
	if str(record, "sender_user_id") != "" {
		return "", ""
	}
	agent := str(record, "sender_agent_id")
	if agent != "" && agent != v.AgentID || str(record, "conversation_id") != v.ConversationID {
		return "", ""
	}
	visitors := metadata["is_anonymous_user"] == true || metadata["original_role"] == "user"
	switch kind := str(record, "role"); {
	case kind == "tool", kind == "system" && agent != "":
		return "", ""
	case agent != "":
		role = "assistant"
	case kind == "user", kind == "system" && visitors:
		role = "user"
	default:
		return "", ""
	}

	// what it says
	if s, ok := record["content"].(string); ok {
		text = s
	} else if s := str(content, "text"); s != "" {
		text = s
	} else if content["type"] == "structured" || content["type"] == "multimodal" {
		parts, _ := content["parts"].([]any)
		var texts []string
		for _, p := range parts {
			part, _ := p.(map[string]any)
			s := str(part, "content")
			if s == "" {
				s = str(part, "text")
			}
			if part["type"] == "text" && s != "" {
				texts = append(texts, s)
			}
		}
		text = strings.Join(texts, "\n")
	}
	if strings.TrimSpace(text) == "" {
		return "", ""
	}

	// whose it is
	mark := metadata["temp_session_id"]
	if mark == nil || mark == "" {
		mark = metadata["session_id"]
	}
	switch {
	case mark == v.SessionID:
		return role, text
	case mark != nil && mark != "", !v.LinkKnown:
		return "", ""
	}
	users, others := 0, 0
	for _, s := range scope.Sessions {
		if s.ConversationSessionID == v.ConversationSessionID {
			users++
		}
		if s.ID != v.SessionID {
			others++
		}
	}
	mine := len(scope.Sessions) > others
	second := mine && v.ConversationSessionID != "" && str(record, "session_id") == v.ConversationSessionID &&
		scope.Anonymous[v.ConversationSessionID] && users == 1
	for _, s := range scope.Sessions {
		if s.ConversationSessionID == v.ConversationSessionID && s.ID != v.SessionID {
			second = false
		}
	}
	third := mine && !v.Shared && others == 0 && record["role"] == "assistant" && agent == v.AgentID && agent != ""
	if second || third {
		return role, text
	}
	return "", ""
}

func FuzzJudge(f *testing.F) {
	for _, text := range exampleRows {
		f.Add(placeholders.Replace(text), byte(0), byte(0))
		f.Add(placeholders.Replace(text), byte(1), byte(6))
	}
	f.Add(placeholders.Replace(`{"id":"x","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A",`+
		`"content":{"type":"text","text":"hi","metadata":{"Temp_Session_ID":"S-other","x":1e999}},"created_at":"2026-03-02T10:00:00Z"}`), byte(0), byte(3))
	f.Fuzz(func(t *testing.T, record string, who, scopes byte) {
		row, err := chat.DecodeRow([]byte(record), nil)
		if err != nil || row.Partial {
			return
		}
		var fields map[string]any
		d := json.NewDecoder(strings.NewReader(record))
		d.UseNumber()
		require.NoError(t, d.Decode(&fields))
		v := []*chat.Visitor{visitorS(), visitorS2(), visitorOther()}[who%3]
		v.LinkKnown = who&4 == 0
		v.Shared = who&8 != 0
		scope := &chat.Scope{Anonymous: map[string]bool{}}
		for i, ref := range []chat.SessionRef{
			{ID: v.SessionID, ConversationSessionID: v.ConversationSessionID}, {ID: idX, ConversationSessionID: idRandom},
			{ID: idU, ConversationSessionID: v.ConversationSessionID},
		} {
			if scopes&(1<<i) != 0 {
				scope.Sessions = append(scope.Sessions, ref)
			}
		}
		scope.Anonymous[v.ConversationSessionID] = scopes&8 != 0

		m, verdict := chat.Rule{}.Judge(v, row, scope)
		role, text := statedRule(v, fields, scope)
		assert.Equal(t, role, m.Role)
		assert.Equal(t, text, m.Content)
		assert.Equal(t, role != "", verdict == chat.Granted)
		if _, verdict := (chat.Rule{}).Judge(v, row, nil); verdict == chat.Granted {
			assert.NotEmpty(t, role, "granted without a reading, but not with one")
		}
	})
}
