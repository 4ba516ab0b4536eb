package chat_test

import (
	"bufio"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func exampleMessage() chat.Message {
	agent := idA
	return chat.Message{
		ID: "m03", Role: "assistant", Content: "Thanks. How slow, roughly?", Timestamp: start.Add(1500 * time.Millisecond),
		ConversationID: idC1, AgentID: &agent,
	}
}

func exampleEvents() []*chat.Event {
	at := start.Add(2 * time.Second)
	visitor := chat.Message{
		ID: "m02", Role: "user", Content: "Mostly good", Timestamp: start, ConversationID: idC1, ClientMessageID: "c-17",
	}
	marked := exampleMessage()
	marked.Kind, marked.Greeting, marked.Recovered, marked.Replayed, marked.Unstored = "error", true, true, true, true
	odd := exampleMessage()
	odd.Content = "line\nfeed \r \u2028 \u2029 <b>&\"quoted\"</b> \x00 \\ 漢字🎉\n\ndata: x\n\n"
	return []*chat.Event{
		chat.NewEvent(chat.KindMessage, exampleMessage(), "cursor1", at),
		chat.NewEvent(chat.KindMessage, visitor, "cursor2", at),
		chat.NewEvent(chat.KindMessage, marked, "", at),
		chat.NewEvent(chat.KindMessage, odd, "cursor3", at),
		chat.NewEvent(chat.KindUpdated, exampleMessage(), "cursor4", at),
		chat.NewEvent(chat.KindDeleted, chat.Message{ID: "m03", ConversationID: idC1, Timestamp: start}, "cursor5", at),
	}
}

func TestEventsHaveTheirTextInEveryDialect(t *testing.T) {
	for d, name := range dialectNames {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, e := range exampleEvents() {
				b.WriteString("== " + e.Kind.String() + " " + e.Message.ID + "\n")
				b.Write(e.Encode(d))
				b.WriteString("\n")
			}
			assertGolden(t, "event-"+name, b.String())
		})
	}
}

// payload returns the JSON of an encoded event and its SSE fields.
func payload(t *testing.T, d chat.Dialect, text []byte) (body map[string]any, fields map[string]string) {
	t.Helper()
	data := string(text)
	if d == chat.DialectMessage || d == chat.DialectEnvelope {
		require.True(t, strings.HasSuffix(data, "\n\n"))
		fields = make(map[string]string)
		lines := bufio.NewScanner(strings.NewReader(strings.TrimSuffix(data, "\n\n")))
		for lines.Scan() {
			key, value, ok := strings.Cut(lines.Text(), ": ")
			require.True(t, ok, "a line that is no field: %q", lines.Text())
			require.NotContains(t, fields, key)
			fields[key] = value
		}
		data = fields["data"]
	}
	require.NoError(t, json.Unmarshal([]byte(data), &body))
	return body, fields
}

func TestEventCarriesAnyTextUnharmed(t *testing.T) {
	odd := exampleEvents()[3]
	for d, name := range dialectNames {
		t.Run(name, func(t *testing.T) {
			body, _ := payload(t, d, odd.Encode(d))
			for _, key := range []string{"data", "message"} {
				if inner, ok := body[key].(map[string]any); ok {
					body = inner
				}
			}
			assert.Equal(t, odd.Message.Content, body["content"])
			assert.Contains(t, string(odd.Encode(d)), `<b>&`, "text is escaped for HTML")
			assert.NotContains(t, string(odd.Encode(d)), "\u2028", "a bare line separator")
		})
	}
}

func TestEventHoldsTheAllowedFieldsOnly(t *testing.T) {
	allowed := []string{
		"id", "role", "content", "timestamp", "conversation_id", "agentId", "userId", "kind", "client_message_id", "is_initial_greeting",
		"recovered", "replayed", "unstored",
	}
	for _, id := range []string{"m01", "m02", "m03", "m09", "m10", "m12"} {
		row := decodeExample(t, exampleRows[id])
		m, verdict := chat.Rule{}.Judge(visitorS(), row, isolatedScope())
		require.Equal(t, chat.Granted, verdict)
		e := chat.NewEvent(chat.KindMessage, m, "c", start)
		for d, name := range dialectNames {
			text := e.Encode(d)
			body, _ := payload(t, d, text)
			outer := []string{"type", "data", "timestamp", "message", "cursor"}
			if inner, ok := body["data"].(map[string]any); ok {
				assert.Subset(t, outer, keys(body))
				body = inner
			} else if inner, ok := body["message"].(map[string]any); ok {
				assert.Subset(t, outer, keys(body))
				body = inner
			}
			assert.Subset(t, allowed, keys(body), "%s in %s", id, name)
			require.Contains(t, body, "userId")
			assert.Nil(t, body["userId"])
			for _, private := range []string{
				"SECRET", "203.0.113.9", "pilot feedback\"", idL, idCS, idS, "error_type", "chart.png", "example/x.png", "original_role", "metadata",
			} {
				assert.NotContains(t, string(text), private, "%s in %s", id, name)
			}
		}
	}
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestEventIsEncodedOnce(t *testing.T) {
	e := exampleEvents()[0]
	first := e.Encode(chat.DialectWebSocket)
	texts := make([][]byte, 8)
	var g sync.WaitGroup
	for i := range texts {
		g.Go(func() { texts[i] = e.Encode(chat.DialectWebSocket) })
	}
	g.Wait()
	for _, text := range texts {
		assert.Same(t, &first[0], &text[0])
	}
	made := 0
	prepare := func(*chat.Event) any { made++; return made }
	assert.Equal(t, 1, e.Prepared(prepare))
	assert.Equal(t, 1, e.Prepared(prepare))
}
