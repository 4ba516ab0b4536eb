package web_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestReactHookFollowsTheClient(t *testing.T) {
	s := newStage(t)
	sent := make(chan struct{})
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		c.event("", "cursor-1", row("row-0", "assistant", "Welcome", "10:00:00Z", ""))
		select {
		case <-sent:
			c.end()
		case <-c.r.Context().Done():
		}
		c.hold()
	}
	s.handler = func(w http.ResponseWriter, _ map[string]any, _ int) {
		answer(w, http.StatusOK, `{"success":true,"message_id":"row-1","response":null,"status":"accepted"}`)
		close(sent)
	}
	var got struct {
		Views []string
		Live  struct {
			State    string
			Messages []string
			Session  map[string]any
		}
		Rejected struct{ Code string }
		Error    string
		Stable   bool
		Cleared  any
		Ended    map[string]any
		State    string
		Count    int
		After    struct{ Code string }
	}
	run(t, s, "react", nil, &got)

	assert.Equal(t, []string{"offline"}, got.Views)
	assert.Equal(t, "live", got.Live.State)
	assert.Equal(t, []string{"row-0"}, got.Live.Messages)
	assert.Equal(t, "Ada", got.Live.Session["agent_name"])
	assert.Equal(t, "empty_message", got.Rejected.Code)
	assert.Equal(t, "empty_message", got.Error, "a failure is shown")
	assert.Nil(t, got.Cleared, "and cleared by the next send")
	assert.True(t, got.Stable, "send keeps its identity")
	assert.Equal(t, "completed", got.Ended["end_reason"])
	assert.Equal(t, "ended", got.State)
	assert.Equal(t, 2, got.Count)
	assert.Equal(t, "not_connected", got.After.Code)
}
