package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/config"
)

// No file makes Load panic, and what it accepts keeps the promises that others build on.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../config.example.yaml")
	require.NoError(f, err)
	f.Add(string(example), "")
	f.Add("a: &a {listen: :1}\nadmin: *a", ":2")
	f.Add("feed: {heartbeat: 25}\nnames: {columns: [{table: links}]}", "x")
	f.Add("<<: {listen: 1}\nsigning_keys: [*x]", "")
	f.Add("\"a\\nb\\e[2J\": 1\nnames: {columns: [{\"\\n\": 1}]}", "")
	f.Add("supabase: {service_role_key: a.b.c, url: 'http://[::1]:1/v1'}", "[::1]:0")
	f.Fuzz(func(t *testing.T, file, listen string) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		got, err := config.Load(config.LoadOptions{File: path, Environ: []string{"PROXY_LISTEN=" + listen}, WithoutKey: true})
		if err != nil {
			var bad *config.Error
			require.ErrorAs(t, err, &bad)
			require.NotEmpty(t, bad.Problems)
			assert.Equal(t, len(bad.Problems)-1, strings.Count(err.Error(), "\n"), "one line a problem")
			assert.Nil(t, got)
			return
		}
		assert.False(t, strings.HasSuffix(got.Supabase.URL, "/"))
		assert.Positive(t, got.Feed.PollInterval)
		assert.Positive(t, got.Limits.QueueEvents)
		for _, prefix := range got.TrustedProxies {
			assert.True(t, prefix.IsValid())
			assert.False(t, prefix.Addr().Is4In6(), "no address matches it")
		}
	})
}
