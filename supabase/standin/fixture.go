package standin

import (
	"encoding/base64"
	"time"
)

// Fixture is a small world: one agent, links in every state, visitors on an isolated and on a shared conversation, and the
// rows m01 to m13 that a proxy has to show, rewrite or hide.
type Fixture struct {
	AgentID    string // answers on all links
	OwnerID    string // the agent's owner, a signed-in user
	StrangerID string // another signed-in user, sender of m13

	Isolated, Contextual, Inactive, Expired, Full FixtureLink

	Visitor         FixtureSession // on Isolated: conversation C1 is theirs alone
	Shared          FixtureSession // on Contextual: conversation C2 belongs to the owner
	SharedOther     FixtureSession // a second visitor of C2
	InactiveVisitor FixtureSession
	ExpiredVisitor  FixtureSession
	FullVisitor     FixtureSession // the one session that Full allows

	// Rows are m01 to m13, complete enough for DB.Insert; copy a row before changing it. m09 and m12 need Options.Relaxed.
	Rows map[string]Row
}

// FixtureLink is a public link.
type FixtureLink struct {
	ID, Token string
}

// FixtureSession is a visitor's session. ConversationSessionID is what the visitor's rows have as session_id.
type FixtureSession struct {
	ID, Token, LinkID, ConversationID, ConversationSessionID string
}

// fixtureID gives the constant UUID of a number.
func fixtureID(n int) string {
	digits := "00" + itoa(n)
	digits = digits[len(digits)-3:]
	return "5eed0" + digits + "-0000-4000-8000-000000000" + digits
}

func fixtureLinkToken(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(fixtureID(n) + fixtureID(n))[:70])
}

func fixtureSessionToken(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(fixtureID(n) + "-1772445600"))
}

// NewFixture gives the constants of the small world without storing anything.
func NewFixture() *Fixture {
	f := &Fixture{AgentID: fixtureID(1), OwnerID: fixtureID(2), StrangerID: fixtureID(3)}
	for i, link := range []*FixtureLink{&f.Isolated, &f.Contextual, &f.Inactive, &f.Expired, &f.Full} {
		*link = FixtureLink{ID: fixtureID(10 + i), Token: fixtureLinkToken(20 + i)}
	}
	for i, s := range []struct {
		session      *FixtureSession
		link         FixtureLink
		conversation int
	}{
		{&f.Visitor, f.Isolated, 41}, {&f.Shared, f.Contextual, 42}, {&f.SharedOther, f.Contextual, 42},
		{&f.InactiveVisitor, f.Inactive, 43}, {&f.ExpiredVisitor, f.Expired, 44}, {&f.FullVisitor, f.Full, 45},
	} {
		*s.session = FixtureSession{
			ID: fixtureID(30 + i), Token: fixtureSessionToken(50 + i), LinkID: s.link.ID,
			ConversationID: fixtureID(s.conversation), ConversationSessionID: fixtureID(60 + i),
		}
	}
	f.Rows = fixtureRows(f)
	return f
}

// ownerConversationSession is the session in which the owner talks in C2.
func ownerConversationSession() string { return fixtureID(70) }

// Seed stores the agent, links, sessions and conversations of the fixture, but none of its message rows. Links are good for a
// day from now on the database clock.
func (s *Server) Seed() (*Fixture, error) {
	f := NewFixture()
	now := s.db.clock()
	err := s.db.Tx(func(tx *Tx) error {
		if _, err := tx.Insert(TableAgents, Row{"id": f.AgentID, "name": "Ada", "user_id": f.OwnerID}); err != nil {
			return err
		}
		if err := f.seedLinks(tx, now); err != nil {
			return err
		}
		_, err := tx.Insert(TableConversationSessions, Row{
			"id": ownerConversationSession(), "conversation_id": f.Shared.ConversationID, "user_id": f.OwnerID, "agent_id": f.AgentID,
		})
		if err != nil {
			return err
		}
		return f.seedSessions(tx, s.opts.Strict)
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Fixture) seedLinks(tx *Tx, now time.Time) error {
	for i, link := range []struct {
		FixtureLink
		set Row
	}{
		{f.Isolated, Row{"title": "Pilot feedback", "max_sessions": 50, "initial_agent_message": "Hello! What did you think of the pilot?",
			"chat_intent": "collect pilot feedback", "description": "Tell us what you think", "welcome_message": "Welcome!"}},
		{f.Contextual, Row{"title": "Project room", "max_sessions": 50, "source_conversation_id": f.Shared.ConversationID,
			"system_prompt_override": "SECRET OVERRIDE"}},
		{f.Inactive, Row{"title": "Switched off", "is_active": false}},
		{f.Expired, Row{"title": "Over", "created_at": now.Add(-48 * time.Hour), "expires_at": now.Add(-time.Hour)}},
		{f.Full, Row{"title": "One at a time", "max_sessions": 1}},
	} {
		vaultID := fixtureID(80 + i)
		tx.db.setSecretLocked(vaultID, link.Token)
		row := Row{"id": link.ID, "agent_id": f.AgentID, "user_id": f.OwnerID, "vault_link_token_id": vaultID,
			"expires_at": now.Add(24 * time.Hour)}
		for name, v := range link.set {
			row[name] = v
		}
		if _, err := tx.Insert(TableLinks, row); err != nil {
			return err
		}
	}
	return nil
}

// seedSessions stores the visitors. A strict schema has room for one conversation session a conversation, so there the visitors
// of C2 use the owner's.
func (f *Fixture) seedSessions(tx *Tx, strict bool) error {
	for i, s := range []FixtureSession{f.Visitor, f.Shared, f.SharedOther, f.InactiveVisitor, f.ExpiredVisitor, f.FullVisitor} {
		if strict && s.ConversationID == f.Shared.ConversationID {
			s.ConversationSessionID = ownerConversationSession()
		} else if _, err := tx.Insert(TableConversationSessions, Row{
			"id": s.ConversationSessionID, "conversation_id": s.ConversationID, "agent_id": f.AgentID,
		}); err != nil {
			return err
		}
		vaultID := fixtureID(90 + i)
		tx.db.setSecretLocked(vaultID, s.Token)
		if _, err := tx.Insert(TableSessions, Row{
			"id": s.ID, "link_id": s.LinkID, "vault_session_token_id": vaultID, "conversation_id": s.ConversationID,
			"conversation_session_id": s.ConversationSessionID, "ip_address": "203.0.113.9", "participant_name": "Sam",
		}); err != nil {
			return err
		}
	}
	return nil
}
