package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// nobody is the session of rows that no visitor may see.
const nobody = -1

// committed is a row, from its commit on. Who may see it is known from what it was made as.
type committed struct {
	id, text string
	session  int // index, or nobody
	seq      int // place among all commits
	at       time.Time
	created  time.Time
}

// soakLedger is what was committed, in order. Safe for concurrent use.
type soakLedger struct {
	mu   sync.Mutex
	rows []*committed
	byID map[string]*committed
}

// commit ends a transaction and writes down its rows.
func (l *soakLedger) commit(tx *standin.Tx, rows []*committed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now() // before anybody can see them
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, row := range rows {
		row.at, row.seq = at, len(l.rows)+1
		l.rows = append(l.rows, row)
		l.byID[row.id] = row
	}
	return nil
}

// list returns what is committed so far.
func (l *soakLedger) list() []*committed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows[:len(l.rows):len(l.rows)]
}

func (l *soakLedger) find(id string) *committed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byID[id]
}

// write commits transactions of one to three rows until ctx ends, about six a second.
func (w *soakWorld) write(ctx context.Context, random *rand.Rand) error {
	for n := 0; ctx.Err() == nil; n++ {
		if !pause(ctx, time.Duration(random.ExpFloat64()*float64(120*time.Millisecond))) {
			break
		}
		tx := w.standin.DB().Begin()
		var rows []*committed
		for range 1 + random.IntN(3) {
			row, as := w.row(random)
			if random.Float64() < 0.15 { // written by a machine with another clock, or long ago
				row["created_at"] = tx.Start().Add(time.Duration((random.Float64()*62 - 60) * float64(time.Second)))
			}
			stored, err := tx.Insert(standin.TableMessages, row)
			if err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			as.created = stored["created_at"].(time.Time)
			rows = append(rows, as)
		}
		length := random.Float64() * 0.05
		if random.Float64() < 0.1 {
			length = random.Float64() * 3
		}
		pause(ctx, time.Duration(length*float64(time.Second))) // when ctx ends first, it is committed now
		if err := w.ledger.commit(tx, rows); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}

// row makes a row of any kind for any session: three of five are for its page.
func (w *soakWorld) row(random *rand.Rand) (standin.Row, *committed) {
	i := random.IntN(len(w.sessions))
	s := &w.sessions[i]
	as := &committed{id: uuid.NewString(), session: i}
	as.text = fmt.Sprintf("for session %d: %x", i, random.Uint64())
	tags := map[string]any{"temp_session_id": s.ID, "temporary_chat": true}
	content := map[string]any{"type": "text", "text": as.text, "metadata": tags}
	row := standin.Row{"id": as.id, "conversation_id": s.ConversationID, "session_id": s.ConversationSessionID, "content": content}
	switch kind := random.IntN(10); kind {
	case 0, 1, 2: // the visitor's own
		row["role"], tags["is_anonymous_user"], tags["original_role"] = "system", true, "user"
	case 3, 4: // the agent's, tagged
		row["role"], row["sender_agent_id"] = "assistant", w.fixture.AgentID
	case 5: // the agent's, untagged, in the session's own conversation session
		row["role"], row["sender_agent_id"] = "assistant", w.fixture.AgentID
		delete(content, "metadata")
	default:
		as.session = nobody
		w.hide(kind, row, content, tags)
	}
	return row, as
}

// hide makes a row into one that nobody's page shows.
func (w *soakWorld) hide(kind int, row standin.Row, content, tags map[string]any) {
	row["role"] = "system"
	switch kind {
	case 6: // of a session that does not exist
		tags["temp_session_id"], tags["is_anonymous_user"], tags["original_role"] = uuid.NewString(), true, "user"
	case 7: // a tool's result
		row["role"], content["type"] = "tool", "tool_result"
	case 8: // a signed-in stranger's, with the session's tag
		row["role"], row["sender_user_id"] = "assistant", w.fixture.StrangerID
	default: // the owner's, elsewhere
		row["conversation_id"], row["session_id"] = w.elsewhere, uuid.NewString()
		row["role"], row["sender_user_id"] = "user", w.fixture.OwnerID
		delete(content, "metadata")
	}
}

// pause waits; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
