package chat_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// statedRule is the rule written down again, from the words of the contract and on the record's JSON.
func statedRule(rule chat.Rule, v *chat.Visitor, record map[string]any, scope *chat.Scope) (role, text string) {
	str := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	content, _ := record["content"].(map[string]any)
	metadata, _ := content["metadata"].(map[string]any)

	// where it is
	if where := str(record, "conversation_id"); where == "" || where != v.ConversationID {
		return "", ""
	}

	// who wrote it
	everybody := rule.Mode == chat.ModeConversation
	believed := everybody && rule.TrustSenders
	agent := str(record, "sender_agent_id")
	if !believed && (str(record, "sender_user_id") != "" || agent != "" && agent != v.AgentID) {
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
	case kind == "assistant" && believed:
		role = "assistant"
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
	if everybody {
		return role, text
	}
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
		f.Add(placeholders.Replace(text), byte(0), byte(9))
		f.Add(placeholders.Replace(text), byte(0), byte(16))
		f.Add(placeholders.Replace(text), byte(3), byte(16|32))
		f.Add(placeholders.Replace(text), byte(16), byte(9))
		f.Add(placeholders.Replace(text), byte(32+1), byte(32|9))
	}
	for _, sender := range []string{`null`, `"A"`, `"B"`} {
		for _, role := range []string{"user", "assistant", "system", "developer"} {
			text := placeholders.Replace(`{"id":"x","conversation_id":"C1","session_id":"rnd","role":"` + role + `","sender_user_id":null,` +
				`"sender_agent_id":` + sender + `,"content":"hi","created_at":"2026-03-02T10:00:00Z"}`)
			for _, scopes := range []byte{1 | 8, 1 | 2 | 8, 16, 16 | 32} {
				f.Add(text, byte(0), scopes)
			}
		}
	}
	f.Add(placeholders.Replace(`{"id":"x","conversation_id":"C1","session_id":"CS","role":"assistant","sender_user_id":null,"sender_agent_id":"A",`+
		`"content":{"type":"text","text":"hi","metadata":{"Temp_Session_ID":"S-other","x":1e999}},"created_at":"2026-03-02T10:00:00Z"}`), byte(0), byte(3))
	f.Fuzz(func(t *testing.T, record string, who, scopes byte) {
		row, err := chat.DecodeRow([]byte(record), nil)
		if err != nil {
			return
		}
		var fields map[string]any
		d := json.NewDecoder(strings.NewReader(record))
		d.UseNumber()
		require.NoError(t, d.Decode(&fields))
		v := []*chat.Visitor{visitorS(), visitorS2(), visitorOther()}[who%3]
		v.LinkKnown = who&4 == 0
		v.Shared = who&8 != 0
		if who&16 != 0 {
			v.ConversationSessionID = ""
		}
		if who&32 != 0 {
			v.AgentID = ""
		}
		rule := chat.Rule{TrustSenders: scopes&32 != 0}
		if scopes&16 != 0 {
			rule.Mode = chat.ModeConversation
		}
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

		m, verdict := rule.Judge(v, row, scope)
		if row.Partial {
			assert.Equal(t, chat.Hidden, verdict, "judged without all columns")
			return
		}
		role, text := statedRule(rule, v, fields, scope)
		assert.Equal(t, role, m.Role)
		assert.Equal(t, text, m.Content)
		assert.Equal(t, role != "", verdict == chat.Granted)
		assert.NotEqual(t, chat.NeedsScope, verdict, "a reading does not do")
		switch _, unread := rule.Judge(v, row, nil); unread {
		case chat.Granted:
			assert.NotEmpty(t, role, "granted without a reading, but not with one")
		case chat.Hidden:
			assert.Empty(t, role, "hidden without a reading, but not with one")
		}
	})
}
