package transport_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestChangesHaveTheShapeOfTheRealServers(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), v)
		c.live(frontTopic, `{"event":"*","schema":"public","table":"chat_messages_v2"}`)
		row := rigRow(rigSession, 1)
		row.CommittedAt = rigTime.Add(50 * time.Millisecond)
		g.hub.Publish(row, false)
		changed := *row
		changed.Content.Text, changed.UpdatedAt = "edited <b> \u2028", row.UpdatedAt.Add(time.Second)
		changed.CommittedAt = rigTime.Add(1050 * time.Millisecond)
		g.hub.Publish(&changed, true)
		g.hub.DeleteCommitted(row.ID, rigTime.Add(2*time.Second))

		columns := `[{"name": "id", "type": "uuid"}, {"name": "conversation_id", "type": "uuid"}, {"name": "sender_user_id", "type": "uuid"}, ` +
			`{"name": "sender_agent_id", "type": "uuid"}, {"name": "role", "type": "varchar"}, {"name": "content", "type": "jsonb"}, ` +
			`{"name": "created_at", "type": "timestamptz"}]`
		record := `{"id": "row-1", "role": "assistant", "content": {"text": "%s", "type": "text"}, ` +
			`"created_at": "2026-01-02T03:04:05.001+00:00", "sender_user_id": null, "conversation_id": "conversation-1", "sender_agent_id": "agent-1"}`
		for _, want := range []string{
			`{"table":"chat_messages_v2","type":"INSERT","record":` + fmt.Sprintf(record, "text 1") + `,"columns":` + columns +
				`,"errors":null,"schema":"public","commit_timestamp":"2026-01-02T03:04:05.050Z"}`,
			`{"table":"chat_messages_v2","type":"UPDATE","record":` + fmt.Sprintf(record, `edited <b> \u2028`) + `,"columns":` + columns +
				`,"errors":null,"schema":"public","commit_timestamp":"2026-01-02T03:04:06.050Z","old_record":{"id": "row-1"}}`,
			`{"table":"chat_messages_v2","type":"DELETE","columns":` + columns +
				`,"errors":null,"schema":"public","commit_timestamp":"2026-01-02T03:04:07.000Z","old_record":{"id": "row-1"}}`,
		} {
			payload := c.expect(frontTopic, phoenix.EventPostgresChanges)
			data, ids, ok := strings.Cut(strings.TrimPrefix(payload, `{"data":`), `,"ids":[`)
			assert.True(t, ok)
			assert.Equal(t, want, data)
			assert.Regexp(t, `^\d+\]}$`, ids)
		}
	})
}

func TestRecordLooksLikeTheRecordings(t *testing.T) {
	var recordedData struct{ Columns, Record json.RawMessage }
	for _, line := range recording(t, "01-basic-v2.jsonl") {
		if line.Frame == "" || line.Dir != "in" {
			continue
		}
		m, err := phoenix.DecodeServer(false, []byte(line.Frame))
		require.NoError(t, err)
		if m.Event == phoenix.EventPostgresChanges {
			var p struct{ Data json.RawMessage }
			require.NoError(t, json.Unmarshal(m.Payload, &p))
			require.NoError(t, json.Unmarshal(p.Data, &recordedData))
		}
	}
	// The record is jsonb text: short names first, a space behind each colon and comma.
	public := []string{`"id": "`, `, "role": "`, `, "content": `, `, "created_at": "`, `, "conversation_id": "`}
	own := string((&chat.Event{Message: chat.Message{ID: "x", Role: "user"}}).Encode(chat.DialectRealtime))
	for _, text := range []string{string(recordedData.Record), own} {
		at := 0
		for _, part := range public {
			i := strings.Index(text[at:], part)
			require.GreaterOrEqual(t, i, 0, "%s in %s", part, text)
			at += i
		}
	}
	assert.Contains(t, string(recordedData.Columns), `{"name": "id", "type": "uuid"}, {"name": "conversation_id", "type": "uuid"}`)
}

func TestRenamedTableAndColumns(t *testing.T) {
	table := chat.Table{Schema: "app", Name: "posts", Columns: chat.Columns{"created_at": "at", "role": "who"}}
	g := newRig(t, func(o *transport.Options) { o.Table, o.RefusalDelay = table, soon })
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, `{"event":"*","schema":"app","table":"posts","filter":"who=eq.assistant"}`)
	c.join("realtime:old", frontBinding)
	assert.Contains(t, c.expect("realtime:old", phoenix.EventReply), "only app.posts")
	c.closedFor("realtime:old")
	g.publish(1)
	assert.Equal(t, "row-1", c.change(frontTopic))
}

func TestFiltersAndEventsChooseChanges(t *testing.T) {
	assistant := rigRow(rigSession, 1)
	visitor := rigRow(rigSession, 2)
	visitor.Role, visitor.SenderAgentID, visitor.Content.Text = "user", "", "hello world"
	edited := *visitor
	edited.Content.Text, edited.UpdatedAt = "edited", visitor.UpdatedAt.Add(time.Second)
	const a, u, up, del = "INSERT row-1", "INSERT row-2", "UPDATE row-2", "DELETE row-1"
	tests := []struct {
		name, event, filter string
		want                []string
	}{
		{"everything", "*", "", []string{a, u, up, del}},
		{"small letters", "insert", "", []string{a, u}},
		{"unknown event", "UPSERT", "", []string{a, u, up, del}},
		{"updates", "UPDATE", "", []string{up}},
		{"deletions", "DELETE", "", []string{del}},
		{"own conversation", "*", "conversation_id=eq." + rigConversation, []string{a, u, up, del}},
		{"one of several conversations", "*", "conversation_id=in.(" + recordedConversation + "," + rigConversation + ")", []string{a, u, up, del}},
		{"no own conversation", "*", "conversation_id=neq." + rigConversation, nil},
		{"role", "*", "role=eq.user", []string{u, up}},
		{"quoted", "*", `role=eq."user"`, []string{u, up}},
		{"not the role", "*", "role=neq.user", []string{a}},
		{"negated", "*", "role=not.eq.user", []string{a}},
		{"roles", "INSERT", "role=in.(user,assistant)", []string{a, u}},
		{"less", "INSERT", "role=lt.b", []string{a}},
		{"at least", "INSERT", "role=gte.user", []string{u}},
		{"pattern", "INSERT", "role=like.ass%", []string{a}},
		{"pattern of one sign", "INSERT", "role=ilike.USE_", []string{u}},
		{"and", "*", "role=eq.user,conversation_id=eq." + rigConversation, []string{u, up}},
		{"time", "INSERT", "created_at=gt.2026-01-02T03:04:05.0015Z", []string{u}},
		{"time with a blank", "INSERT", "created_at=lte.2026-01-02 03:04:05.0015+00", []string{a}},
		{"null", "*", "sender_agent_id=is.null", []string{u, up}},
		{"not null", "INSERT", "sender_agent_id=not.is.null", []string{a}},
		{"null equals nothing", "*", "sender_user_id=neq." + recordedConversation, nil},
		{"content", "INSERT", `content=eq."{\"type\":\"text\",\"text\":\"hello world\"}"`, []string{u}},
		{"content twice", "*", `content=neq.1,content=eq."{\"text\":\"edited\",\"type\":\"text\"}"`, []string{up}},
		{"blank filter", "DELETE", " ", []string{del}},
	}
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V1)
	for i, tt := range tests {
		filter, err := json.Marshal(tt.filter)
		require.NoError(t, err)
		c.live(fmt.Sprintf("realtime:%d", i),
			fmt.Sprintf(`{"event":%q,"schema":"public","table":"chat_messages_v2","filter":%s}`, tt.event, filter))
	}
	g.hub.Publish(assistant, false)
	g.hub.Publish(visitor, false)
	g.hub.Publish(&edited, true)
	g.hub.Delete(assistant.ID)
	got := make([][]string, len(tests))
	total := 0
	for _, tt := range tests {
		total += len(tt.want)
	}
	for range total {
		m := c.receive()
		var i int
		var p struct{ Data struct{ Type string } }
		_, err := fmt.Sscanf(m.Topic, "realtime:%d", &i)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(m.Payload, &p))
		got[i] = append(got[i], p.Data.Type+" "+changedRow(t, string(m.Payload)))
	}
	c.quiet()
	for i, tt := range tests {
		assert.Equal(t, tt.want, got[i], tt.name)
	}
}

func TestBindingsThatCannotWorkAreExplained(t *testing.T) {
	const failed = "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: " +
		"[event: *, schema: public, table: chat_messages_v2, filters: [%s], select: %s]. Exception: ERROR %s"
	tests := []struct{ name, binding, text string }{
		{
			"private column", `"filter":"metadata=eq.1"`,
			fmt.Sprintf(failed, `{\"metadata\", \"eq\", \"1\", false}`, "nil", "P0001 (raise_exception) invalid column for filter metadata"),
		},
		{
			"selected private column", `"select":["id","session_id"]`,
			fmt.Sprintf(failed, "", `[\"id\", \"session_id\"]`, "P0001 (raise_exception) invalid column for select session_id"),
		},
		{
			"no time", `"filter":"created_at=gt.noon"`,
			fmt.Sprintf(failed, `{\"created_at\", \"gt\", \"noon\", false}`, "nil",
				`22007 (invalid_datetime_format) invalid input syntax for type timestamp with time zone: \"noon\"`),
		},
		{
			"no JSON", `"filter":"content=eq.{"`,
			fmt.Sprintf(failed, `{\"content\", \"eq\", \"{\", false}`, "nil",
				`22P02 (invalid_text_representation) invalid input syntax for type json: \"{\"`),
		},
		{"null filter", `"filter":null`, "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: " +
			`%{\"event\" => \"*\", \"filter\" => nil, \"schema\" => \"public\", \"table\" => \"chat_messages_v2\"}`},
		{"open quote", `"filter":"role=eq.\"user"`, `Error parsing ` + "`filter`" + ` params: [\"role=eq.\\\"user\"]`},
		{"operator", `"filter":"role=match.x"`, `Error parsing ` + "`filter`" + ` params: [\"match\", \"x\"]`},
		{
			"long list", `"filter":"id=in.(` + strings.Repeat("1,", 100) + `1)"`,
			"Error parsing `filter` params: too many values for in filter. Maximum 100",
		},
		{
			"many comparisons", `"filter":"` + strings.Repeat("role=neq.1,", 100) + `role=eq.user"`,
			"Error parsing `filter` params: too many conditions in one channel. Maximum 100",
		},
	}
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	for _, tt := range tests {
		c.t = t
		ref := c.join(frontTopic, `{"event":"*","schema":"public","table":"chat_messages_v2",`+tt.binding+`}`)
		assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), `"status":"ok"`, tt.name)
		system := c.expect(frontTopic, phoenix.EventSystem)
		assert.Equal(t, `{"message":"`+tt.text+`","status":"error","extension":"postgres_changes","channel":"chat"}`, system, tt.name)
		g.publish(1)
		c.push(ref, frontTopic, phoenix.EventLeave, "{}")
		c.expect(frontTopic, phoenix.EventReply)
		c.expect(frontTopic, phoenix.EventClose)
	}
	c.quiet()
}

func TestWhatIsNotTheVisitorsIsRefused(t *testing.T) {
	tests := []struct{ name, binding, reason string }{
		{"another conversation", `"table":"chat_messages_v2","filter":"conversation_id=eq.` + recordedConversation + `"`,
			"A chat session may not watch another conversation (" + recordedConversation + "), only its own"},
		{"a list of other conversations", `"table":"chat_messages_v2","filter":"role=eq.user,conversation_id=in.(` + recordedConversation + `)"`,
			"A chat session may not watch another conversation (" + recordedConversation + "), only its own"},
		{"another table", `"table":"profiles"`, "A chat session may not watch the table public.profiles, only public.chat_messages_v2"},
		{"another schema", `"schema":"auth","table":"*"`, "A chat session may not watch the table auth.*, only public.chat_messages_v2"},
	}
	g := newRig(t, func(o *transport.Options) { o.RefusalDelay = soon })
	c := g.realtime(g.serve(), phoenix.V2)
	for _, tt := range tests {
		c.join(frontTopic, frontBinding, `{"event":"*",`+tt.binding+`}`)
		assert.Equal(t, `{"status":"error","response":{"reason":"Unauthorized: `+tt.reason+`"}}`, c.expect(frontTopic, phoenix.EventReply), tt.name)
		assert.Equal(t, tt.reason, c.closedFor(frontTopic), tt.name)
	}
	g.publish(1)
	c.quiet()
}

func TestBindingsAreEchoedAsTheyWere(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	bindings := []string{
		`{ "table":"chat_messages_v2", "schema":"public", "event":"INSERT", "extra":{"a":[1]} }`, frontBinding, frontBinding,
		`{"event":"*","schema":"*","id":7}`,
	}
	c.join(frontTopic, bindings...)
	var reply struct {
		Response struct {
			Changes []map[string]any `json:"postgres_changes"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(c.expect(frontTopic, phoenix.EventReply)), &reply))
	c.expect(frontTopic, phoenix.EventSystem)
	require.Len(t, reply.Response.Changes, len(bindings))
	var ids []float64
	for i, echoed := range reply.Response.Changes {
		id := echoed["id"].(float64)
		assert.GreaterOrEqual(t, id, 1.0)
		assert.NotContains(t, ids, id)
		ids = append(ids, id)
		var sent map[string]any
		require.NoError(t, json.Unmarshal([]byte(bindings[i]), &sent))
		delete(sent, "id")
		delete(echoed, "id")
		assert.Equal(t, sent, echoed)
	}
	g.publish(1)
	var change struct{ IDs []float64 }
	require.NoError(t, json.Unmarshal([]byte(c.expect(frontTopic, phoenix.EventPostgresChanges)), &change))
	slices.Reverse(ids)
	assert.Equal(t, ids, change.IDs)

	again := g.realtime(g.serve(), phoenix.V2)
	again.join(frontTopic, bindings...)
	require.NoError(t, json.Unmarshal([]byte(again.expect(frontTopic, phoenix.EventReply)), &reply))
	assert.Equal(t, ids[len(ids)-1], reply.Response.Changes[0]["id"], "the same after a reconnect")
}

func TestColumnsCanBeSelected(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, `{"event":"*","schema":"public","table":"chat_messages_v2","select":["role"]}`, frontBinding)
	g.publish(1)
	assert.Contains(t, c.expect(frontTopic, phoenix.EventPostgresChanges), `"content"`, "the full one comes first")
	assert.Contains(t, c.expect(frontTopic, phoenix.EventPostgresChanges),
		`"record":{"id": "row-1", "role": "assistant"},"columns":[{"name": "id", "type": "uuid"}, {"name": "role", "type": "varchar"}],`)
}

func TestClientsWithoutAConfigGetBareChanges(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V1)
	const topic = "realtime:public:chat_messages_v2:role=eq.assistant"
	c.joinWith(topic, `{}`)
	c.answered(topic)
	g.publish(1)
	assert.True(t, strings.HasPrefix(c.expect(topic, "INSERT"), `{"table":"chat_messages_v2","type":"INSERT","record":{"id": "row-1"`))
}

func TestUnstoredReplyIsAnInsert(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	g.hub.PublishUnstored(rigVisitor(rigSession), "reply-1", "only here")
	assert.Equal(t, "reply-1", c.change(frontTopic))
}
