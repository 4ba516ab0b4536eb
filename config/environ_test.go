package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/config"
)

func TestEveryKeyHasOneVariable(t *testing.T) {
	seen := make(map[string]string)
	for _, key := range config.Keys() {
		name := config.Variable(key)
		assert.Empty(t, seen[name], "%s and %s share %s", key, seen[name], name)
		seen[name] = key
	}
	assert.Equal(t, "listen", seen["PROXY_LISTEN"])
	assert.Equal(t, "admin.listen", seen["PROXY_ADMIN_LISTEN"])
	assert.Equal(t, "names.conversation_sessions", seen["PROXY_NAMES_CONVERSATION_SESSIONS"])
}

func TestVariablesSetEveryKindOfValue(t *testing.T) {
	got, err := load(t, "",
		"PROXY_CHAT_VISIBILITY=conversation",
		"PROXY_CHAT_TRUST_SENDERS=true",
		"PROXY_CHAT_OVERLAP= 90s ",
		"PROXY_LIMITS_CONNECTIONS=7",
		"PROXY_TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.1,",
		"PROXY_SIGNING_KEYS=0123456789abcdef0123456789abcdef,fedcba9876543210fedcba9876543210",
		"PROXY_CORS_ALLOWED_ORIGINS=https://a.example,capacitor://localhost",
		"PROXY_NAMES_COLUMNS=messages.created_at=inserted_at, links.id=link_id",
		"PROXY_SUPABASE_URL=https://b.example", "SUPABASE_URL=https://c.example",
		"PROXY_LISTEN=", "PROXY_LISTEN=:1", "PROXY_LISTEN=:2",
	)
	require.NoError(t, err)
	want := config.Default()
	want.Chat.Visibility, want.Chat.TrustSenders, want.Chat.Overlap = "conversation", true, 90*time.Second
	want.Limits.Connections = 7
	want.TrustedProxies = got.TrustedProxies
	want.SigningKeys = []config.Secret{"0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"}
	want.CORS.AllowedOrigins = []string{"https://a.example", "capacitor://localhost"}
	want.Names.Columns = []config.Column{
		{Table: "messages", Column: "created_at", Name: "inserted_at"}, {Table: "links", Column: "id", Name: "link_id"},
	}
	want.Supabase.URL = "https://b.example"
	want.Listen = ":1"
	assert.Equal(t, want, *got)
	require.Len(t, got.TrustedProxies, 2)
	assert.Equal(t, "192.0.2.1/32", got.TrustedProxies[1].String())
}

func TestVariablesOfTheWrongTypeAreRefused(t *testing.T) {
	for entry, want := range map[string]string{
		"PROXY_LIMITS_CONNECTIONS=many":        "limits.connections: needs a whole number without a unit (set by PROXY_LIMITS_CONNECTIONS)",
		"PROXY_LIMITS_QUEUE_BYTES=64KiB":       "limits.queue_bytes: needs a whole number without a unit (set by PROXY_LIMITS_QUEUE_BYTES)",
		"PROXY_FEED_HEARTBEAT=25":              "feed.heartbeat: needs a duration with a unit, such as 250ms, 10s or 2m (set by PROXY_FEED_HEARTBEAT)",
		"PROXY_ADMIN_PPROF=1":                  "admin.pprof: needs true or false (set by PROXY_ADMIN_PPROF)",
		"PROXY_NAMES_COLUMNS=created_at=x":     "names.columns: needs entries of the form table.column=name (set by PROXY_NAMES_COLUMNS)",
		"PROXY_NAMES_COLUMNS=links.created_at": "names.columns: needs entries of the form table.column=name (set by PROXY_NAMES_COLUMNS)",
		"PROXY_TRUSTED_PROXIES=x":              "trusted_proxies[0]: needs an address or a network, such as 10.0.0.0/8 (set by PROXY_TRUSTED_PROXIES)",
		"PROXY_CHAT_VISIBLITY=session":         "PROXY_CHAT_VISIBLITY: is not a known variable, did you mean PROXY_CHAT_VISIBILITY?",
		"PROXY_DATABASE_PASSWORD=hunter2":      "PROXY_DATABASE_PASSWORD: is not a known variable",
		"SUPABASE_URL=x":                       "supabase.url: needs a URL that starts with http:// or https:// (set by SUPABASE_URL)",
		"SUPABASE_SERVICE_ROLE_KEY=hunter2":    "supabase.service_role_key: is neither a JWT nor an sb_ key; Realtime needs one of the two (set by SUPABASE_SERVICE_ROLE_KEY)",
		"SUPABASE_ANON_KEY=" + opaqueSecret:    "supabase.anon_key: is not the anon or publishable key; a key with more rights must not stand here (set by SUPABASE_ANON_KEY)",
		"SUPABASE_SECRET_KEY=" + opaquePublishable: "supabase.service_role_key: is the anon or publishable key, which can read no messages; " +
			"the service_role or secret key belongs here (set by SUPABASE_SECRET_KEY)",
	} {
		t.Run(entry, func(t *testing.T) {
			_, err := load(t, "", entry)
			assert.EqualError(t, err, want)
		})
	}
}

func TestVariablesThatPlatformsSetAreLeftAlone(t *testing.T) {
	got, err := load(t, "",
		"PROXY_SERVICE_HOST=10.0.0.1", "PROXY_SERVICE_PORT=80", "PROXY_SERVICE_PORT_HTTP=80", "PROXY_PORT=tcp://10.0.0.1:80",
		"PROXY_PORT_80_TCP=tcp://10.0.0.1:80", "PROXY_PORT_80_TCP_PROTO=tcp", "PROXY_PORT_80_TCP_PORT=80", "PROXY_PORT_80_TCP_ADDR=10.0.0.1",
		"PROXYCHAINS=x", "HTTP_PROXY=http://x", "SUPABASE_ACCESS_TOKEN=sbp_x", "malformed")
	require.NoError(t, err)
	assert.Equal(t, config.Default(), *got)
}

func TestKeysComeFromSupabaseVariables(t *testing.T) {
	serviceJWT, anonJWT := roleKey(t, "service_role"), roleKey(t, "anon")
	local := []string{`API_URL="http://127.0.0.1:55321"`, "SECRET_KEY=" + opaqueSecret, "PUBLISHABLE_KEY=" + opaquePublishable, "DB_URL=x", "JWT_SECRET=x"}
	for name, row := range map[string]struct {
		file    string
		environ []string
		want    [3]string // URL, service key, anon key
	}{
		"project's names": {"", []string{"SUPABASE_URL=https://x.example", "SUPABASE_SECRET_KEY=" + opaqueSecret, "SUPABASE_ANON_KEY=" + anonJWT},
			[3]string{"https://x.example", opaqueSecret, anonJWT}},
		"a JWT is preferred": {"", []string{"SUPABASE_SERVICE_ROLE_KEY=" + opaqueSecret, "SUPABASE_SECRET_KEY=" + serviceJWT, "SUPABASE_PUBLISHABLE_KEY=" + anonJWT, "SUPABASE_ANON_KEY=" + opaquePublishable},
			[3]string{"http://127.0.0.1:54321", serviceJWT, anonJWT}},
		"our own name comes first": {"", []string{"PROXY_SUPABASE_SERVICE_ROLE_KEY=" + opaqueSecret, "SUPABASE_SERVICE_ROLE_KEY=" + serviceJWT},
			[3]string{"http://127.0.0.1:54321", opaqueSecret, ""}},
		"local stack": {"", local, [3]string{"http://127.0.0.1:55321", opaqueSecret, opaquePublishable}},
		"local stack, older names too": {"", append([]string{"SERVICE_ROLE_KEY=" + serviceJWT, "ANON_KEY=" + anonJWT}, local...),
			[3]string{"http://127.0.0.1:55321", serviceJWT, anonJWT}},
		"local stack below a local file": {"supabase: {url: 'http://localhost:1', service_role_key: '', anon_key: " + anonJWT + "}", local,
			[3]string{"http://localhost:1", opaqueSecret, anonJWT}},
		"local stack below a hosted file": {"supabase: {url: https://x.example}", local, [3]string{"https://x.example", "", ""}},
		"local stack below our variable":  {"", append([]string{"PROXY_SUPABASE_URL=https://x.example"}, local...), [3]string{"https://x.example", "", ""}},
		"local stack beside a project's":  {"", append([]string{"SUPABASE_ANON_KEY=" + anonJWT}, local...), [3]string{"http://127.0.0.1:54321", "", anonJWT}},
		"API_URL elsewhere":               {"", append([]string{"API_URL=https://api.example"}, local...), [3]string{"http://127.0.0.1:54321", "", ""}},
		"no API_URL":                      {"", local[1:], [3]string{"http://127.0.0.1:54321", "", ""}},
		"API_URL that only looks local":   {"", append([]string{"API_URL=http://127.0.0.1.evil.example"}, local...), [3]string{"http://127.0.0.1:54321", "", ""}},
		"API_URL with a local user":       {"", append([]string{"API_URL=http://127.0.0.1@evil.example"}, local...), [3]string{"http://127.0.0.1:54321", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, row.file, row.environ...)
			require.NoError(t, err)
			assert.Equal(t, row.want, [3]string{got.Supabase.URL, got.Supabase.ServiceRoleKey.Reveal(), got.Supabase.AnonKey.Reveal()})
		})
	}
}

func TestLocalKeysStayLocalWhenAFlagNamesAnotherProject(t *testing.T) {
	t.Chdir(t.TempDir())
	got, err := config.Load(config.LoadOptions{
		Flags:   flagSet(t, "--supabase-url", "https://x.example"),
		Environ: []string{"API_URL=http://localhost:54321", "SECRET_KEY=" + opaqueSecret}, WithoutKey: true,
	})
	require.NoError(t, err)
	assert.Equal(t, "https://x.example", got.Supabase.URL)
	assert.Empty(t, got.Supabase.ServiceRoleKey)
}
