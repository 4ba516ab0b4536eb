package chat_test

import (
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
		{"an identified visitor with the visitor's tag", row(`"X"`, `null`, "system", mine), ""},
		{"an identified sender beside the agent", row(`"X"`, `"A"`, "assistant", mine), ""},
		{"another agent with the visitor's tag", row(`null`, `"B"`, "assistant", mine), ""},
		{"another agent as a user, with the visitor's tag", row(`null`, `"B"`, "user", mine), ""},
		{"the agent as a user, with the visitor's tag", row(`null`, `"A"`, "user", mine), "assistant"},
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
			for _, rule := range []chat.Rule{{}, {TrustSenders: true}} { // trust is for ModeConversation
				assert.Equal(t, tt.want, shown(t, rule, visitorS(), decodeExample(t, tt.row), isolatedScope()))
			}
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

func TestConversationModeHidesWhatNobodyMaySeeAndBelievesSendersOnlyWhenTold(t *testing.T) {
	row := func(user, agent, role, content string) string {
		return fmt.Sprintf(`{"id":"f1","conversation_id":"C1","session_id":"rnd","role":%q,"sender_user_id":%s,"sender_agent_id":%s,`+
			`"content":%s,"created_at":"2026-03-02T10:00:00Z"}`, role, user, agent, content)
	}
	const (
		plain = `{"type":"text","text":"hi"}`
		other = `{"type":"text","text":"hi","metadata":{"temp_session_id":"S-other","is_anonymous_user":true}}`
	)
	tests := []struct{ name, row, want, trusting string }{
		{"the agent's row", row(`null`, `"A"`, "assistant", plain), "assistant", "assistant"},
		{"the agent's row for another session", row(`null`, `"A"`, "assistant", other), "assistant", "assistant"},
		{"another visitor's row", row(`null`, `null`, "system", other), "user", "user"},
		{"another visitor's row in a relaxed database", row(`null`, `null`, "user", other), "user", "user"},
		{"an identified user's row", row(`"U"`, `null`, "user", plain), "", "user"},
		{"an identified user's row for the agent", row(`"U"`, `"A"`, "assistant", plain), "", "assistant"},
		{"an identified user's row as the assistant", row(`"U"`, `null`, "assistant", plain), "", "assistant"},
		{"an identified user's row as a visitor", row(`"U"`, `null`, "system", other), "", "user"},
		{"another agent's row", row(`null`, `"B"`, "assistant", plain), "", "assistant"},
		{"another agent's row as a user", row(`null`, `"B"`, "user", plain), "", "assistant"},
		{"an assistant row of nobody", row(`null`, `null`, "assistant", plain), "", "assistant"},
		{"instructions", row(`null`, `null`, "system", plain), "", ""},
		{"instructions of an identified user", row(`"U"`, `null`, "system", plain), "", ""},
		{"instructions of the agent", row(`null`, `"A"`, "system", other), "", ""},
		{"a tool row", row(`null`, `null`, "tool", plain), "", ""},
		{"a tool row of the agent", row(`null`, `"A"`, "tool", plain), "", ""},
		{"a tool row of an identified user", row(`"U"`, `null`, "tool", plain), "", ""},
		{"a role nobody knows", row(`null`, `null`, "developer", plain), "", ""},
		{"a role nobody knows of an identified user", row(`"U"`, `null`, "developer", plain), "", ""},
		{"blank text", row(`null`, `"A"`, "assistant", `{"type":"text","text":"\t"}`), "", ""},
		{"text that is absent", strings.Replace(row(`null`, `"A"`, "assistant", plain), `"content"`, `"other"`, 1), "", ""},
	}
	unknown := visitorS()
	unknown.LinkKnown, unknown.Shared = false, true
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := decodeExample(t, tt.row)
			for _, v := range []*chat.Visitor{visitorS(), unknown} {
				assert.Equal(t, tt.want, shown(t, chat.Rule{Mode: chat.ModeConversation}, v, r, nil))
				assert.Equal(t, tt.trusting, shown(t, chat.Rule{Mode: chat.ModeConversation, TrustSenders: true}, v, r, nil))
			}
		})
	}
}

func TestRuleHidesARowWhoseColumnsAreNotAllKnown(t *testing.T) {
	row := decodeExample(t, exampleRows["m01"])
	row.Partial = true
	for _, rule := range []chat.Rule{{}, {Mode: chat.ModeConversation}, {Mode: chat.ModeConversation, TrustSenders: true}} {
		assert.Empty(t, shown(t, rule, visitorS(), row, isolatedScope()))
	}
}

func TestUntaggedRowIsShownByTheScopeRuleThatFitsItOnly(t *testing.T) {
	row := func(session, agent, role string) string {
		return fmt.Sprintf(`{"id":"f1","conversation_id":"C1","session_id":%s,"role":%q,"sender_user_id":null,"sender_agent_id":%s,`+
			`"content":{"type":"text","text":"hi","metadata":{"is_anonymous_user":true}},"created_at":"2026-03-02T10:00:00Z"}`, session, role, agent)
	}
	alone := isolatedScope()
	crowded := isolatedScope()
	crowded.Sessions = append(crowded.Sessions, chat.SessionRef{ID: idSOther, ConversationSessionID: idCSO})
	owned := isolatedScope()
	owned.Anonymous = nil
	sessionless := visitorS()
	sessionless.ConversationSessionID = ""

	// A row waits for a reading only when one could show it.
	tests := []struct {
		name                          string
		who                           *chat.Visitor
		row                           string
		unread, alone, crowded, owned string
	}{
		{"the agent's, under another session", visitorS(), row(`"rnd"`, `"A"`, "assistant"), "?", "assistant", "", "assistant"},
		{"the agent's, under S's", visitorS(), row(`"CS"`, `"A"`, "assistant"), "?", "assistant", "assistant", "assistant"},
		{"the agent's as a user, under another session", visitorS(), row(`"rnd"`, `"A"`, "user"), "", "", "", ""},
		{"the agent's as a user, under S's", visitorS(), row(`"CS"`, `"A"`, "user"), "?", "assistant", "assistant", ""},
		{"a visitor's, under another session", visitorS(), row(`"rnd"`, `null`, "system"), "", "", "", ""},
		{"a visitor's, under S's", visitorS(), row(`"CS"`, `null`, "system"), "?", "user", "user", ""},
		{"a visitor's, under none", visitorS(), row(`null`, `null`, "system"), "", "", "", ""},
		{"a visitor's, under none, as S's", sessionless, row(`null`, `null`, "system"), "", "", "", ""},
		{"the agent's, under none, as S's", sessionless, row(`null`, `"A"`, "assistant"), "?", "assistant", "", "assistant"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := decodeExample(t, tt.row)
			for scope, want := range map[*chat.Scope]string{nil: tt.unread, alone: tt.alone, crowded: tt.crowded, owned: tt.owned} {
				assert.Equal(t, want, shown(t, chat.Rule{}, tt.who, r, scope), "%v", scope)
			}
		})
	}
}
