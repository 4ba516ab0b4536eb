package oracle_test

import (
	"strings"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// shown says whether a row belongs on the page of a session, and with which text. It states the rule in words of its own, from the row
// as it was written and from who uses the conversation.
func shown(p *party, everybody []party, row standin.Row) (text string, ok bool) {
	if row == nil || row["conversation_id"] != p.ConversationID {
		return "", false
	}
	if row["sender_user_id"] != nil { // someone who is signed in
		return "", false
	}
	agent := row["sender_agent_id"]
	if agent != nil && agent != p.AgentID {
		return "", false
	}
	content := row["content"].(map[string]any)
	tags, _ := content["metadata"].(map[string]any)
	byVisitor := tags["is_anonymous_user"] == true || tags["original_role"] == "user"
	switch row["role"] {
	case "assistant":
		if agent == nil {
			return "", false
		}
	case "system":
		if !byVisitor || agent != nil {
			return "", false
		}
	default:
		return "", false
	}
	text = textOf(content)
	return text, strings.TrimSpace(text) != "" && belongs(p, everybody, row, tags)
}

func belongs(p *party, everybody []party, row standin.Row, tags map[string]any) bool {
	for _, key := range []string{"temp_session_id", "session_id"} {
		if named := tags[key]; named != nil {
			return named == p.ID
		}
	}
	// Untagged rows: under a conversation session that only this session has, or the agent's in a conversation of its own.
	alone, only := true, row["session_id"] == p.ConversationSessionID
	for i := range everybody {
		if o := &everybody[i]; o.ID != p.ID {
			alone = alone && o.ConversationID != p.ConversationID
			only = only && o.ConversationSessionID != p.ConversationSessionID
		}
	}
	return only || alone && !p.Shared && row["role"] == "assistant"
}

func textOf(content map[string]any) string {
	if text, ok := content["text"].(string); ok {
		return text
	}
	var texts []string
	list, _ := content["parts"].([]any)
	for _, item := range list {
		part := item.(map[string]any)
		if part["type"] == "text" {
			texts = append(texts, part["content"].(string))
		}
	}
	return strings.Join(texts, "\n")
}
