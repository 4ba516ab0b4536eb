package rest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func withCanary(o *rest.Options) { o.Names.Canary = "beats" }

var beatTime = time.Date(2026, 3, 2, 10, 0, 0, 123456789, time.FixedZone("", 3600))

func TestWriteBeatMergesTheRowAndAsksForNothing(t *testing.T) {
	s := newScript(t, answer(201, ""))
	require.NoError(t, newClient(t, s, withCanary).WriteBeat(t.Context(), idA, beatTime))
	r := s.only(t)
	assert.Equal(t, "POST", r.Method)
	assert.Equal(t, "/rest/v1/beats", r.Path)
	assert.Equal(t, map[string][]string{"on_conflict": {"id"}}, map[string][]string(r.Query))
	assert.Equal(t, "resolution=merge-duplicates,return=minimal", r.Header.Get("Prefer"))
	assert.JSONEq(t, `{"id":"`+idA+`","beat":"2026-03-02T09:00:00.123456Z"}`, r.Body)
}

func TestBeatsAreDeletedByIDOrByAge(t *testing.T) {
	s := newScript(t, answer(204, ""))
	c := newClient(t, s, withCanary)
	require.NoError(t, c.DeleteBeat(t.Context(), idA))
	require.NoError(t, c.DeleteBeatsBefore(t.Context(), beatTime))
	seen := s.requests()
	require.Len(t, seen, 2)
	for i, want := range []map[string][]string{{"id": {"eq." + idA}}, {"beat": {"lt.2026-03-02T09:00:00.123456789Z"}}} {
		assert.Equal(t, "DELETE", seen[i].Method)
		assert.Equal(t, "/rest/v1/beats", seen[i].Path)
		assert.Equal(t, want, map[string][]string(seen[i].Query))
		assert.Equal(t, "return=minimal", seen[i].Header.Get("Prefer"))
	}
}

func TestBeatsNeedATableAnIDAndATime(t *testing.T) {
	s := newScript(t, answer(204, ""))
	none, c := newClient(t, s), newClient(t, s, withCanary)
	for name, err := range map[string]error{
		"write without a table":   none.WriteBeat(t.Context(), idA, beatTime),
		"write without an id":     c.WriteBeat(t.Context(), "", beatTime),
		"write a year of no form": c.WriteBeat(t.Context(), idA, time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)),
		"delete without a table":  none.DeleteBeat(t.Context(), idA),
		"delete an odd id":        c.DeleteBeat(t.Context(), "a,b"),
		"clear without a table":   none.DeleteBeatsBefore(t.Context(), beatTime),
		"clear without a time":    c.DeleteBeatsBefore(t.Context(), time.Time{}),
	} {
		assert.ErrorIs(t, err, rest.ErrInvalidArgument, name)
	}
	assert.Empty(t, s.requests())
	_, err := rest.New(rest.Options{URL: s.URL, Key: serviceKey, Names: rest.Names{Canary: "a b"}})
	require.ErrorContains(t, err, `"a b"`)
}
