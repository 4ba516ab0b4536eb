package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runsAtOnce bounds the runs at a time: processors are few.
const runsAtOnce = 12

// The judgement of each scenario of supabase.mjs, by its name.
var judgements = map[string]func(*testing.T, *jsRun){
	"changes": judgeChanges, "remove": judgeRemove, "setAuth": judgeSetAuth, "callback": judgeCallback, "heartbeats": judgeHeartbeats,
	"two": judgeTwo, "wrong": judgeWrong, "ended": judgeEnded, "over": judgeOver, "thousand": judgeThousand, "restart": judgeRestart,
	"cut": judgeCut,
}

// suits reports whether a client can play a scenario: the old one has no accessToken option, and no other token than its own.
func (c jsClient) suits(scenario string) bool {
	return c.pkg == currentJS || scenario != "callback" && scenario != "heartbeats"
}

// playAll plays scenarios with every client and judges each.
func playAll(t *testing.T, clients []jsClient, at *jsTarget, scenarios ...string) {
	t.Helper()
	var runs []*jsRun
	for _, scenario := range scenarios {
		require.Contains(t, judgements, scenario)
		for _, c := range clients {
			if !c.suits(scenario) {
				continue
			}
			r := &jsRun{scenario: scenario, client: c, at: at}
			if scenario == "cut" {
				r.relay = newRelay(t, at.url[len("http://"):])
			}
			runs = append(runs, r)
		}
	}
	var playing sync.WaitGroup
	free := make(chan struct{}, runsAtOnce)
	for _, r := range runs {
		free <- struct{}{}
		playing.Go(func() {
			defer func() { <-free }()
			r.perform()
		})
	}
	if at.restart != nil {
		at.restarts.happen(t, len(runs), at.restart)
	}
	playing.Wait()
	for _, r := range runs {
		t.Run(r.name(), func(t *testing.T) {
			require.NoError(t, r.err, "told: %s", r.told())
			judgements[r.scenario](t, r)
			if t.Failed() {
				t.Logf("told: %s", r.told())
			}
		})
	}
}

// told are the first callbacks, for a failure's message.
func (r *jsRun) told() string {
	text, err := json.Marshal(r.notes[:min(len(r.notes), 30)])
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// inserted checks that a channel was told of exactly these new rows, in this order.
func (r *jsRun) inserted(t *testing.T, channel string, want ...string) {
	t.Helper()
	found := changes(t, r.notes, channel)
	assert.Equal(t, want, texts(found), channel)
	for _, c := range found {
		assert.Equal(t, "INSERT", c.EventType)
		assert.Equal(t, r.visitor.ConversationID, c.New["conversation_id"])
	}
}

func judgeChanges(t *testing.T, r *jsRun) {
	found := changes(t, r.notes, "chat")
	require.Equal(t, []string{"one", "two", "one, edited"}, texts(found))
	for i, c := range found {
		event := []string{"INSERT", "INSERT", "UPDATE"}[i]
		assert.Equal(t, event, c.EventType)
		assert.Equal(t, r.ids[i%2], c.New["id"])
		assert.Equal(t, shapes(t, goldenChanges(t, r.client.pkg, "types"), event), shapes(t, found, event))
	}
	assert.Equal(t, map[string]any{"id": r.ids[0]}, found[2].Old)
	gone := slices.DeleteFunc(changes(t, r.notes, "gone"), func(c jsChange) bool { return c.Old["id"] != r.ids[1] })
	require.Len(t, gone, 1)
	assert.Equal(t, map[string]any{"id": r.ids[1]}, gone[0].Old)
	assert.Equal(t, shapes(t, goldenChanges(t, r.client.pkg, "types"), "DELETE"), shapes(t, gone, "DELETE"))
}

// shapes are the distinct forms of a callback's argument for an event: names and types, and of values that Postgres formats
// their form too. What columns there are depends on the table, so of the rows only columns that every table has count.
func shapes(t *testing.T, found []jsChange, event string) []string {
	t.Helper()
	var distinct []string
	for _, c := range found {
		if c.EventType != event || c.Errors != nil || c.Table != "chat_messages_v2" {
			continue
		}
		raw, err := json.Marshal(c)
		require.NoError(t, err)
		var argument map[string]any
		require.NoError(t, json.Unmarshal(raw, &argument))
		for _, side := range []string{"new", "old"} {
			row := argument[side].(map[string]any)
			for name := range row {
				if !slices.Contains([]string{"id", "conversation_id", "role", "created_at"}, name) {
					delete(row, name)
				}
			}
		}
		form, err := json.Marshal(formOf(argument))
		require.NoError(t, err)
		if !slices.Contains(distinct, string(form)) {
			distinct = append(distinct, string(form))
		}
	}
	slices.Sort(distinct)
	return distinct
}

// formOf replaces values by what they are like.
func formOf(value any) any {
	switch v := value.(type) {
	case map[string]any:
		form := map[string]any{}
		for name, inner := range v {
			form[name] = formOf(inner)
		}
		return form
	case string:
		form := []rune(v)
		if len(form) < 20 {
			return "string"
		}
		if len(v) > 20 && v[10] == 'T' && len(v) > 25 { // the number of decimals varies
			return fmt.Sprintf("instant with offset %s", v[len(v)-6:])
		}
		for i, c := range form {
			switch {
			case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
				form[i] = 'x'
			}
		}
		return string(form)
	default:
		return fmt.Sprintf("%T", value)
	}
}

func judgeRemove(t *testing.T, r *jsRun) {
	r.inserted(t, "two", "to both", "to two")
	assert.Equal(t, []string{"SUBSCRIBED", "CLOSED"}, statuses(r.notes, "two"))
	assert.Equal(t, []string{"SUBSCRIBED", "CLOSED", "SUBSCRIBED"}, statuses(r.notes, "one"))
	again := slices.IndexFunc(r.notes, func(n jsNote) bool { return n.Channel == "one" && n.Status == "CLOSED" })
	first := changes(t, r.notes[:again], "one")
	assert.Equal(t, []string{"to both"}, texts(first))
	second := texts(changes(t, r.notes[again:], "one"))
	if r.at.proxied {
		// What was written just before a join may come with it: the proxy knows the database's time to a second.
		second = slices.DeleteFunc(second, func(text string) bool { return text == "to both" || text == "to two" })
	}
	assert.Equal(t, []string{"to one again"}, second)
	for _, n := range r.notes {
		if n.Removed != "" {
			assert.Equal(t, "ok", n.Removed)
		}
	}
}

func judgeSetAuth(t *testing.T, r *jsRun) {
	r.inserted(t, "chat", "with the first token", "with the next token")
	assert.Equal(t, []string{"SUBSCRIBED"}, statuses(r.notes, "chat"))
}

func judgeCallback(t *testing.T, r *jsRun) {
	r.inserted(t, "chat", "by callback")
	assert.Equal(t, []string{"SUBSCRIBED"}, statuses(r.notes, "chat"))
}

func judgeHeartbeats(t *testing.T, r *jsRun) {
	r.inserted(t, "chat", "behind heartbeats")
	assert.Equal(t, []string{"SUBSCRIBED"}, statuses(r.notes, "chat"))
}

func judgeTwo(t *testing.T, r *jsRun) {
	r.inserted(t, "agents", "from the agent", "from the agent again")
	r.inserted(t, "all", "from the agent", "from the visitor", "from the agent again")
	var roles []any
	for _, c := range changes(t, r.notes, "all") {
		roles = append(roles, c.New["role"])
	}
	visitors := "system" // as it is stored
	if r.at.proxied {
		visitors = "user"
	}
	assert.Equal(t, []any{"assistant", visitors, "assistant"}, roles)
}

func judgeWrong(t *testing.T, r *jsRun) {
	r.inserted(t, "right", "still here")
	assert.Equal(t, []string{"SUBSCRIBED"}, statuses(r.notes, "right"))
	for i, wrong := range r.wrong() {
		channel := "wrong " + strconv.Itoa(i)
		assert.Empty(t, changes(t, r.notes, channel))
		var told []string
		for _, n := range r.notes {
			if n.Channel == channel && n.System != nil && n.System.Status == "error" {
				told = append(told, n.System.Message)
			}
		}
		require.Len(t, told, 1, channel)
		assert.Contains(t, told[0], wrong.reason)
		want := []string{"SUBSCRIBED", "CLOSED"}
		if wrong.By == "close" {
			want = []string{"CHANNEL_ERROR", "CLOSED"}
		}
		assert.Equal(t, want, statuses(r.notes, channel))
	}
}

func judgeEnded(t *testing.T, r *jsRun) {
	r.inserted(t, "chat", "before the end")
	assert.Equal(t, []string{"SUBSCRIBED", "CLOSED"}, statuses(r.notes, "chat"))
	told := slices.ContainsFunc(r.notes, func(n jsNote) bool {
		return n.System != nil && n.System.Extension == "system" && n.System.Status == "error" && n.System.Message != ""
	})
	assert.True(t, told, "the reason is told")
}

func judgeOver(t *testing.T, r *jsRun) {
	found := statuses(r.notes, "chat")
	assert.Equal(t, []string{"CHANNEL_ERROR", "CLOSED"}, found)
	assert.Empty(t, changes(t, r.notes, "chat"))
}

func judgeThousand(t *testing.T, r *jsRun) {
	var want []string
	for i := range 1000 {
		want = append(want, strconv.Itoa(i))
	}
	r.inserted(t, "chat", append(want, "the last")...)
	assert.Equal(t, []string{"SUBSCRIBED"}, statuses(r.notes, "chat"))
}

func judgeRestart(t *testing.T, r *jsRun) {
	r.inserted(t, "chat", "before", "after")
	found := statuses(r.notes, "chat")
	require.GreaterOrEqual(t, len(found), 3)
	assert.Equal(t, "SUBSCRIBED", found[0])
	assert.Contains(t, found, "CHANNEL_ERROR")
	assert.Equal(t, "SUBSCRIBED", found[len(found)-1])
}

func judgeCut(t *testing.T, r *jsRun) {
	found := changes(t, r.notes, "chat")
	// What came a moment before the cut may come again: the proxy did not hear that it had arrived.
	found = slices.CompactFunc(found, func(a, b jsChange) bool { return a.New["id"] == b.New["id"] && texts([]jsChange{a})[0] == "before" })
	assert.Equal(t, []string{"before", "meanwhile", "after"}, texts(found))
}
