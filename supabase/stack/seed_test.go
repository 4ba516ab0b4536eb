package stack_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// seededStandIn holds the fixture and its rows, as far as they can be stored.
func seededStandIn(t *testing.T, o standin.Options) *standin.Server {
	t.Helper()
	server, err := standin.New(o)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	f, err := server.Seed()
	require.NoError(t, err)
	for name, row := range f.Rows {
		if !o.Relaxed && (name == "m09" || name == "m12") {
			continue
		}
		_, err := server.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err, name)
	}
	return server
}

// momentary columns hold the time at which the row was stored.
var momentary = []string{
	"updated_at", "started_at", "last_active", "last_activity_at", "last_accessed_at", "last_message_at", "expires_at",
}

func TestSeedEqualsTheStandInsFixture(t *testing.T) {
	for name, profile := range map[string]stack.Profile{
		"strict": {Rows: true, Strict: true}, "relaxed": {Rows: true, Relaxed: true}, "both": {Rows: true, Strict: true, Relaxed: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Profile: profile})
			fake := seededStandIn(t, standin.Options{Strict: profile.Strict, Relaxed: profile.Relaxed})
			for _, table := range []string{
				standin.TableAgents, standin.TableLinks, standin.TableConversationSessions, standin.TableSessions, standin.TableMessages,
			} {
				read := request{path: table + "?order=id.asc", key: s.ServiceKey()}
				got := read.do(t, s).rows(t)
				read.key = fake.ServiceKey()
				wanted := read.through(t, fake.Handler()).rows(t)
				for _, row := range slices.Concat(got, wanted) {
					for _, column := range momentary {
						delete(row, column)
					}
					if table != standin.TableMessages {
						delete(row, "created_at")
					}
				}
				require.NotEmpty(t, wanted)
				assert.Equal(t, wanted, got, table)
			}
		})
	}
}

func TestSeededTokensAreTheFixtures(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	tokens := func(sql string) map[string]string {
		var found map[string]string
		require.NoError(t, json.Unmarshal([]byte(value[string](t, s, "select json_object_agg(t.id, d.decrypted_secret)::text from "+sql)), &found))
		return found
	}
	links := map[string]string{}
	for _, link := range []standin.FixtureLink{fixture.Isolated, fixture.Contextual, fixture.Inactive, fixture.Expired, fixture.Full} {
		links[link.ID] = link.Token
	}
	assert.Equal(t, links, tokens("public.temporary_chat_links t join vault.decrypted_secrets d on d.id = t.vault_link_token_id"))
	sessions := map[string]string{}
	for _, visitor := range []standin.FixtureSession{
		fixture.Visitor, fixture.Shared, fixture.SharedOther, fixture.InactiveVisitor, fixture.ExpiredVisitor, fixture.FullVisitor,
	} {
		sessions[visitor.ID] = visitor.Token
	}
	assert.Equal(t, sessions, tokens("public.temporary_chat_sessions t join vault.decrypted_secrets d on d.id = t.vault_session_token_id"))
}
