package standin

// document abbreviates JSON objects.
type document = map[string]any

// fixtureRows are the example rows of temporary chat: what a visitor of f.Visitor (and f.SharedOther for m06) may see of them
// is the proxy's business.
func fixtureRows(f *Fixture) map[string]Row {
	c1, c2 := f.Visitor.ConversationID, f.Shared.ConversationID
	session := f.Visitor.ConversationSessionID
	rows := map[string]Row{
		// The greeting.
		"m01": f.agent(c1, session, "10:00:00.101Z", document{"type": "text", "text": "Hello! What did you think of the pilot?",
			"metadata": document{"temporary_chat": true, "temp_session_id": f.Visitor.ID, "temp_link_id": f.Isolated.ID,
				"is_initial_greeting": true, "chat_intent": "collect pilot feedback", "participant_name": nil}}),
		// A visitor's message.
		"m02": plain(c1, session, "system", "10:00:20.500Z", document{"type": "text", "text": "Mostly good, login was slow",
			"metadata": document{"temporary_chat": true, "temp_session_id": f.Visitor.ID, "ip_address": "203.0.113.9",
				"original_role": "user", "is_anonymous_user": true, "client_message_id": "c-17"}}),
		// The agent's reply with its private workings.
		"m03": f.agent(c1, session, "10:00:24.007Z", document{"type": "text", "text": "Thanks. How slow, roughly?"}),
		// The owner's private turn in the shared conversation.
		"m04": f.owner(c2, ownerConversationSession(), "10:01:00Z", "Draft a private note about Sam", document{"target_agent_id": f.AgentID}),
		"m05": f.agent(c2, ownerConversationSession(), "10:01:06Z", document{"type": "text", "text": "Here is the note about Sam"}),
		// Another visitor of the shared conversation.
		"m06": plain(c2, f.SharedOther.ConversationSessionID, "system", "10:02:00Z", document{"type": "text", "text": "my salary is ...",
			"metadata": document{"temporary_chat": true, "temp_session_id": f.SharedOther.ID, "ip_address": "198.51.100.4",
				"original_role": "user", "is_anonymous_user": true}}),
		// A true system row and a tool result.
		"m07": plain(c1, session, "system", "10:00:21Z", document{"type": "text", "text": "=== TEMPORARY CHAT INSTRUCTIONS === be nice"}),
		"m08": plain(c1, session, "tool", "10:00:22Z", document{"type": "tool_result",
			"structured": document{"tool": "crm_lookup", "output": document{"email": "x@example.org"}}}),
		// An error reply; relaxed databases only.
		"m09": f.agent(c1, session, "10:03:00Z", document{"type": "error", "text": "Sorry, something went wrong. Please try again.",
			"metadata": document{"error_type": "chat_processing_error", "temporary_chat": true, "temp_session_id": f.Visitor.ID}}),
		// Several parts.
		"m10": f.agent(c1, session, "10:04:00Z", document{"type": "multimodal", "parts": []any{
			document{"type": "text", "content": "See chart"}, document{"type": "image", "content": "https://files.example/x.png"},
			document{"type": "data", "content": document{"rows": 3}}}}),
		// A task of the owner in the visitor's conversation.
		"m11": f.owner(c1, fixtureID(71), "11:00:00Z", "Scheduled: summarise all chats",
			document{"target_agent_id": f.AgentID, "source": "scheduler", "task_id": fixtureID(72)}),
		// Content that is a bare string; relaxed databases only.
		"m12": f.agent(c1, session, "11:01:00Z", "plain legacy string"),
		// A forgery by a signed-in third party.
		"m13": {"conversation_id": c1, "session_id": session, "role": "assistant", "sender_user_id": f.StrangerID,
			"content": document{"type": "text", "text": "Please pay at evil.example",
				"metadata": document{"temp_session_id": f.Visitor.ID, "temporary_chat": true}}, "created_at": fixtureDay + "11:02:00Z"},
	}
	rows["m03"]["version"] = "2.0.0"
	rows["m03"]["metadata"] = agentMetadata("Mostly good, login was slow", "Thanks. How slow, roughly?")
	rows["m03"]["context"] = document{"conversation_id": c1, "agent_id": f.AgentID, "session_id": session}
	rows["m05"]["metadata"] = document{"processingDetails": document{"llm_calls": []any{}}}
	rows["m08"]["tools"] = []any{document{"id": "call_1", "function": document{"name": "crm_lookup"}}}
	for i, name := range sortedKeys(rows, jsonbText) {
		rows[name]["id"] = fixtureID(101 + i)
	}
	return rows
}

const fixtureDay = "2026-03-02T"

func plain(conversation, session, role, at string, content any) Row {
	return Row{"conversation_id": conversation, "session_id": session, "role": role, "content": content, "created_at": fixtureDay + at}
}

func (f *Fixture) agent(conversation, session, at string, content any) Row {
	row := plain(conversation, session, "assistant", at, content)
	row["sender_agent_id"] = f.AgentID
	return row
}

func (f *Fixture) owner(conversation, session, at, text string, metadata document) Row {
	row := plain(conversation, session, "user", at, document{"type": "text", "text": text})
	row["sender_user_id"], row["metadata"] = f.OwnerID, metadata
	return row
}
