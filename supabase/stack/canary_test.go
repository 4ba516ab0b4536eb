package stack_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
)

func TestTheCanaryTableIsForTheServiceRoleOnly(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Postgres: kind, Profile: stack.Profile{Canary: true}})
			client := restClient(t, rest.Options{
				URL: gateway(t, s), Key: s.ServiceKey(), Names: rest.Names{Canary: "realtime_proxy_canary"},
			})
			own, gone := uuid.NewString(), uuid.NewString()
			now := time.Now()
			require.NoError(t, client.WriteBeat(t.Context(), own, now.Add(-time.Minute)))
			require.NoError(t, client.WriteBeat(t.Context(), own, now))
			require.NoError(t, client.WriteBeat(t.Context(), gone, now.Add(-25*time.Hour)))
			const beat = "select beat from public.realtime_proxy_canary where id = $1"
			assert.True(t, now.Truncate(time.Microsecond).Equal(value[time.Time](t, s, beat, own)))

			outsider, err := stack.Token("authenticated", fixture.OwnerID)
			require.NoError(t, err)
			for _, key := range []string{s.AnonKey(), outsider} {
				for _, r := range []request{
					{path: "realtime_proxy_canary"},
					{path: "realtime_proxy_canary", method: http.MethodPost, body: `{"id":"` + uuid.NewString() + `","beat":"2026-03-02T10:00:00Z"}`},
					{path: "realtime_proxy_canary?id=eq." + own, method: http.MethodDelete},
				} {
					r.key = key
					assert.Equal(t, "42501", r.do(t, s).code, r.method)
				}
			}

			require.NoError(t, client.DeleteBeatsBefore(t.Context(), now.Add(-24*time.Hour)))
			const rows = "select count(*) from public.realtime_proxy_canary"
			assert.Equal(t, 1, value[int](t, s, rows))
			require.NoError(t, client.DeleteBeat(t.Context(), own))
			require.NoError(t, client.DeleteBeat(t.Context(), own), "also when it is gone")
			assert.Zero(t, value[int](t, s, rows))
			assert.Equal(t, 4, value[int](t, s, "select count(*) from pg_publication_tables where pubname = 'supabase_realtime'"))
			assert.Equal(t, "d", value[string](t, s, "select relreplident::text from pg_class where relname = 'realtime_proxy_canary'"))
		})
	}
}
