package main_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// grantedRows are the rows of the fixture that its visitor may see, with the text that they are shown with.
var grantedRows = map[string]string{
	"m01": "Hello! What did you think of the pilot?",
	"m02": "Mostly good, login was slow",
	"m03": "Thanks. How slow, roughly?",
	"m09": "Sorry, something went wrong. Please try again.",
	"m10": "See chart",
	"m12": "plain legacy string",
}

// keptColumns are those that leave the proxy.
var keptColumns = []string{"id", "conversation_id", "role", "content", "sender_agent_id", "sender_user_id", "created_at"}

// The same rows, told by Supabase to the service role and by the proxy to a visitor, differ in what is hidden and in nothing else.
func compareCallbacks(t *testing.T, clients []jsClient, direct, proxied *jsTarget) {
	t.Helper()
	up := direct.up
	visitor := up.fixture.Visitor
	parts := [2]string{} // ids of the last rows
	live, seen := newGathering(), newGathering()
	does := answers{
		"live": func(json.RawMessage) (any, error) {
			err := live.join()
			return parts[0], err
		},
		"seen": func(json.RawMessage) (any, error) {
			err := seen.join()
			return parts[1], err
		},
	}
	watched := map[*jsTarget][]watch{direct: make([]watch, len(clients)), proxied: make([]watch, len(clients))}
	var playing sync.WaitGroup
	for at, key := range map[*jsTarget]string{direct: up.ServiceKey, proxied: visitor.Token} {
		for i, c := range clients {
			params := map[string]any{"url": at.url, "key": key, "conversation": visitor.ConversationID, "table": standin.TableMessages}
			playing.Go(func() {
				w := &watched[at][i]
				w.notes, w.err = c.play("watch "+at.name+", "+c.name, "watch", params, does)
			})
		}
	}
	live.happen(t, 2*len(clients), func() { parts[0] = writeFixture(t, up) })
	seen.happen(t, 2*len(clients), func() { parts[1] = changeFixture(t, up) })
	playing.Wait()
	for i, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, watched[direct][i].err)
			require.NoError(t, watched[proxied][i].err)
			for _, channel := range []string{"filtered", "bare"} {
				all := changes(t, watched[direct][i].notes, channel)
				granted := redact(t, up, all)
				assert.Len(t, granted, map[string]int{"filtered": 9, "bare": 10}[channel])
				assert.Greater(t, len(all), len(granted), "the service role sees more")
				shown := changes(t, watched[proxied][i].notes, channel)
				if channel == "filtered" {
					// Supabase cannot tell whether a deleted row matched a filter; the proxy can.
					shown = slices.DeleteFunc(shown, func(c jsChange) bool { return c.EventType == "DELETE" })
				}
				assert.Equal(t, insertedIDs(granted), insertedIDs(shown), "new rows come in the order of their commits")
				assert.Equal(t, byRow(granted), byRow(shown), "%s: told by Supabase, less what is hidden; told by the proxy", channel)
			}
		})
	}
}

func insertedIDs(found []jsChange) (ids []any) {
	for _, c := range found {
		if c.EventType == "INSERT" {
			ids = append(ids, c.New["id"])
		}
	}
	return ids
}

// byRow sorts changes by row. An update may wait for a look at the row's session while a deletion of another row does not.
func byRow(found []jsChange) []jsChange {
	id := func(c jsChange) string {
		if c.EventType == "DELETE" {
			return c.Old["id"].(string)
		}
		return c.New["id"].(string)
	}
	return slices.SortedStableFunc(slices.Values(found), func(a, b jsChange) int { return strings.Compare(id(a), id(b)) })
}

type watch struct {
	notes []jsNote
	err   error
}

// writeFixture stores the rows m01 to m13 and one that is granted; it returns the id of that.
func writeFixture(t *testing.T, up *jsUpstream) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(up.fixture.Rows)) {
		row := maps.Clone(up.fixture.Rows[name])
		delete(row, "created_at")
		_, err := up.standin.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err)
	}
	return writeLast(t, up)
}

// changeFixture changes and removes rows that are granted and others, and writes one more that is; it returns the id of that.
func changeFixture(t *testing.T, up *jsUpstream) string {
	t.Helper()
	db, rows := up.standin.DB(), up.fixture.Rows
	edited := map[string]any{"type": "text", "text": editedText, "metadata": map[string]any{"tokens": 12}}
	for _, name := range []string{"m03", "m04"} {
		_, err := db.Update(standin.TableMessages, standin.Row{"id": rows[name]["id"]}, standin.Row{"content": edited})
		require.NoError(t, err)
	}
	for _, name := range []string{"m10", "m11"} {
		_, err := db.Delete(standin.TableMessages, standin.Row{"id": rows[name]["id"]})
		require.NoError(t, err)
	}
	return writeLast(t, up)
}

const editedText, lastText = "Thanks. How slow, exactly?", "That was all"

func writeLast(t *testing.T, up *jsUpstream) string {
	t.Helper()
	stored, err := up.standin.DB().Insert(standin.TableMessages, up.row(up.fixture.Visitor, true, lastText))
	require.NoError(t, err)
	return stored["id"].(string)
}

// redact leaves of what the service role was told the rows that the visitor may see and the columns that leave the proxy.
func redact(t *testing.T, up *jsUpstream, all []jsChange) (granted []jsChange) {
	t.Helper()
	names := map[any]string{}
	for name, row := range up.fixture.Rows {
		names[row["id"]] = name
	}
	for _, c := range all {
		row := c.New
		if c.EventType == "DELETE" {
			row = c.Old
		}
		name, ofFixture := names[row["id"]]
		text, ok := grantedRows[name]
		switch {
		case !ofFixture:
			text = lastText
		case !ok:
			continue
		}
		if c.EventType == "UPDATE" {
			text = editedText
		}
		if c.EventType != "DELETE" {
			c.New = map[string]any{}
			for _, column := range keptColumns {
				require.Contains(t, row, column)
				c.New[column] = row[column]
			}
			c.New["content"] = map[string]any{"type": "text", "text": text}
			c.New["role"] = strings.Replace(c.New["role"].(string), "system", "user", 1)
		}
		granted = append(granted, c)
	}
	return granted
}
