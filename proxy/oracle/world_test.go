package oracle_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	supabaseHost = "supabase.test"
	// links are the links of the world: three on which each session has its own conversation, two on an owner's.
	links    = 5
	isolated = 3
	// maxRecordBytes is the size above which Realtime leaves the large columns out: smaller than in the field, to save time.
	maxRecordBytes = 32 << 10
	// others are conversations without a visitor.
	others = 3
)

// party is what there is to know of a session, from the outside.
type party struct {
	ID, Token, LinkID, ConversationID, ConversationSessionID string
	AgentID                                                  string
	Shared                                                   bool // the conversation is an owner's
}

// world is the database with the people in it.
type world struct {
	t        *testing.T
	standin  *standin.Server
	network  *network
	http     *http.Server
	served   chan struct{}
	fixture  *standin.Fixture
	links    [links]standin.FixtureLink
	parties  []party
	others   []string // conversations
	stranger string   // another agent
	idSpace  uuid.UUID
}

func newWorld(t *testing.T, s *scenario) *world {
	t.Helper()
	w := &world{
		t: t, network: newNetwork(s.Seed, s.Upstream.Latency), served: make(chan struct{}),
		idSpace: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, "seed", s.Seed)),
	}
	ids := lockedRand{rand: rand.New(rand.NewPCG(s.Seed, 2))}
	var err error
	w.standin, err = standin.New(standin.Options{
		PollInterval: s.Upstream.PollInterval, SubscribeDelay: s.Upstream.SubscribeDelay, JoinBackoff: s.Upstream.JoinBackoff,
		MaxRecordBytes: maxRecordBytes,
		Now:            func() time.Time { return time.Now().Add(s.Upstream.Skew) }, NewID: ids.uuid,
	})
	require.NoError(t, err)
	w.fixture, err = w.standin.Seed()
	require.NoError(t, err)
	w.furnish(s)
	w.http = &http.Server{Handler: w.standin.Handler()}
	l := w.network.listen(supabaseHost)
	go func() {
		defer close(w.served)
		_ = w.http.Serve(l) // ends with Close
	}()
	return w
}

// lockedRand makes ids for several goroutines.
type lockedRand struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func (r *lockedRand) uuid() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var id uuid.UUID
	for i := range id {
		id[i] = byte(r.rand.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// id names the n-th thing of a sort.
func (w *world) id(sort string, n int) string {
	return uuid.NewSHA1(w.idSpace, fmt.Appendf(nil, "%s %d", sort, n)).String()
}

// furnish opens the links and makes the sessions.
func (w *world) furnish(s *scenario) {
	f, db := w.fixture, w.standin.DB()
	w.links = [links]standin.FixtureLink{f.Isolated, f.Inactive, f.Full, f.Contextual, f.Expired}
	w.stranger = w.id("agent", 0)
	w.insert(standin.TableAgents, standin.Row{"id": w.stranger, "name": "Other", "user_id": f.StrangerID})
	room := w.id("room", 0)
	w.owned(room)
	for i, link := range w.links {
		set := standin.Row{"is_active": true, "max_sessions": 50, "expires_at": db.Now().Add(24 * time.Hour)}
		if i == links-1 {
			set["source_conversation_id"] = room
		}
		_, err := db.Update(standin.TableLinks, standin.Row{"id": link.ID}, set)
		require.NoError(w.t, err)
	}
	for i := range others {
		w.others = append(w.others, w.id("other", i))
		w.owned(w.others[i])
	}
	for _, plan := range s.Sessions {
		w.parties = append(w.parties, w.open(plan.Link))
	}
}

func (w *world) insert(table string, row standin.Row) {
	_, err := w.standin.DB().Insert(table, row)
	require.NoError(w.t, err)
}

// owned makes a conversation of the owner's.
func (w *world) owned(conversation string) {
	w.insert(standin.TableConversationSessions, standin.Row{
		"conversation_id": conversation, "user_id": w.fixture.OwnerID, "agent_id": w.fixture.AgentID,
	})
}

// open makes a session as a page does.
func (w *world) open(link int) party {
	body := fmt.Sprintf(`{"link_token":%q}`, w.links[link].Token)
	r := httptest.NewRequest(http.MethodPost, "/functions/v1/temporary-chat-api/create-session", strings.NewReader(body))
	answer := httptest.NewRecorder()
	w.standin.Handler().ServeHTTP(answer, r)
	var created struct {
		Data struct {
			Session struct {
				ID             string `json:"id"`
				Token          string `json:"session_token"`
				ConversationID string `json:"conversation_id"`
			} `json:"session"`
		} `json:"data"`
	}
	require.NoError(w.t, json.Unmarshal(answer.Body.Bytes(), &created))
	require.Equal(w.t, http.StatusCreated, answer.Code, answer.Body)
	c := created.Data.Session
	row, ok := w.standin.DB().Row(standin.TableSessions, c.ID)
	require.True(w.t, ok)
	return party{
		ID: c.ID, Token: c.Token, LinkID: w.links[link].ID, ConversationID: c.ConversationID,
		ConversationSessionID: row["conversation_session_id"].(string), AgentID: w.fixture.AgentID, Shared: link >= isolated,
	}
}

// row builds the row of a statement. The text tells the row and its version.
func (w *world) row(st *statement, begun time.Time) standin.Row {
	if st.Session < 0 {
		return standin.Row{
			"id": w.id("row", st.Row), "conversation_id": w.others[st.Other], "session_id": w.id("elsewhere", st.Other), "role": "user",
			"sender_user_id": w.fixture.OwnerID, "content": map[string]any{"type": "text", "text": st.text()},
		}
	}
	p := &w.parties[st.Session]
	row := standin.Row{"id": w.id("row", st.Row), "conversation_id": p.ConversationID, "session_id": p.ConversationSessionID}
	if st.Created != 0 {
		row["created_at"] = begun.Add(st.Created)
	}
	tagged := map[string]any{"temp_session_id": p.ID, "temporary_chat": true}
	content := map[string]any{"type": "text", "text": st.text(), "metadata": tagged}
	row["content"] = content
	switch st.Kind {
	case visitorRow, visitorRowOld, otherTag, instructions:
		row["role"] = "system"
		w.dress(st.Kind, content, tagged)
	case toolRow:
		row["role"], content["type"] = "tool", "tool_result"
	case ownerRow, forged:
		row["role"], row["sender_user_id"] = "user", w.fixture.OwnerID
		delete(content, "metadata")
		if st.Kind == forged {
			row["role"], row["sender_user_id"], content["metadata"] = "assistant", w.fixture.StrangerID, tagged
		}
	default:
		row["role"], row["sender_agent_id"] = "assistant", w.fixture.AgentID
		w.reply(st, row, content)
	}
	return row
}

// dress completes the content of a visitor's row and of those that look like one.
func (w *world) dress(k kind, content, tags map[string]any) {
	tags["is_anonymous_user"], tags["original_role"] = true, "user"
	switch k {
	case visitorRowOld:
		tags["session_id"] = tags["temp_session_id"]
		delete(tags, "temp_session_id")
	case otherTag:
		tags["temp_session_id"] = w.id("nobody", 0)
	case instructions:
		delete(tags, "is_anonymous_user")
		delete(tags, "original_role")
	}
}

// reply completes an agent's row.
func (w *world) reply(st *statement, row standin.Row, content map[string]any) {
	switch st.Kind {
	case otherAgent:
		row["sender_agent_id"] = w.stranger
	case parts:
		delete(content, "text")
		content["type"] = "multimodal"
		content["parts"] = []any{
			map[string]any{"type": "text", "content": st.text()}, map[string]any{"type": "image", "content": "https://files.example/x.png"},
		}
	case replyInCS:
		delete(content, "metadata")
	case replyOutside, ownerAgent:
		delete(content, "metadata")
		row["session_id"] = w.id("elsewhere", st.Row)
	case large:
		row["metadata"] = map[string]any{"processingDetails": strings.Repeat("x", maxRecordBytes)}
	}
}

func (st *statement) text() string {
	if st.Blank {
		return "  "
	}
	text := fmt.Sprintf("row %d version %d", st.Row, st.Version)
	if st.Padding > 0 {
		text += strings.Repeat(".", st.Padding)
	}
	return text
}

func (w *world) close() {
	w.standin.Close()
	_ = w.http.Close() // the listener's error means nothing
	<-w.served
}
