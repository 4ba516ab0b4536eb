package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/config"
)

// Each file is wrong in one way; the message is the whole error.
func TestBadFilesAreRefusedWithASentence(t *testing.T) {
	const durationMessage = "needs a duration with a unit, such as 250ms, 10s or 2m"
	const nameMessage = "needs a plain SQL name: letters, digits and underscores, at most 63, not starting with a digit"
	const originForm = "needs the form scheme://host or scheme://host:port, such as https://app.example.com"
	const originOnly = "needs only scheme://host[:port]: no user, path, query or closing slash, and the scheme in small letters"
	for name, row := range map[string]struct{ file, want string }{
		// The file itself.
		"not YAML":              {"listen: [", "config.yaml: is not YAML: yaml: line 1: did not find expected node content"},
		"unquoted asterisk":     {"signing_keys: [*hunter2]", "config.yaml: is not YAML: yaml: a value that starts with * needs quotes"},
		"a list":                {"- listen", "config.yaml: needs keys and values at the top level"},
		"text":                  {"listen", "config.yaml: needs keys and values at the top level"},
		"two documents":         {"listen: :1\n---\nlisten: :2", "config.yaml: holds more than one YAML document"},
		"unknown section":       {"\nfeeds:\n  poll_after: 1s", "feeds: is not a known key, did you mean feed? (config.yaml line 2)"},
		"unknown key":           {"feed:\n  pol_after: 1s", "feed.pol_after: is not a known key, did you mean poll_after? (config.yaml line 2)"},
		"unknown key, no guess": {"database_url: x", "database_url: is not a known key (config.yaml line 1)"},
		"unknown key, no value": {"databases:", "databases: is not a known key (config.yaml line 1)"},
		"unknown key of a null": {"chat: {other: null}", "chat.other: is not a known key (config.yaml line 1)"},
		"other case":            {"Listen: :1", "Listen: is not a known key, did you mean listen? (config.yaml line 1)"},
		"dotted key":            {"admin.listen: :1", "admin.listen: is not a known key (config.yaml line 1)"},
		"twice":                 {"listen: :1\nlisten: :2", "listen: is set twice (config.yaml line 2)"},
		"canary by two words":   {"feed: {canary_table: my canary}", "feed.canary_table: " + nameMessage + " (config.yaml line 1)"},
		"canary in a table of chat": {
			"names: {agents: bots}\nfeed: {canary_table: bots}",
			"feed.canary_table: is a table under names; the canary needs one of its own (config.yaml line 2)",
		},
		"section as value":       {"feed: 5s", "feed: is a section and needs keys below it (config.yaml line 1)"},
		"value as section":       {"listen: {port: 80}", "listen: needs text, put it in quotes (config.yaml line 1)"},
		"bad value":              {"listen: !!int x", "listen: is not a valid YAML value (config.yaml line 1)"},
		"number as text":         {"listen: 8080", "listen: needs text, put it in quotes (config.yaml line 1)"},
		"date as text":           {"log: {level: 2026-01-01}", "log.level: needs text, put it in quotes (config.yaml line 1)"},
		"text as number":         {"limits: {connections: many}", "limits.connections: needs a whole number without a unit (config.yaml line 1)"},
		"size with a unit":       {"limits: {queue_bytes: 64KiB}", "limits.queue_bytes: needs a whole number without a unit (config.yaml line 1)"},
		"fraction":               {"limits: {connections: 1.5}", "limits.connections: needs a whole number without a unit (config.yaml line 1)"},
		"truth as number":        {"limits: {connections: true}", "limits.connections: needs a whole number without a unit (config.yaml line 1)"},
		"number as truth":        {"admin: {pprof: 1}", "admin.pprof: needs true or false (config.yaml line 1)"},
		"word as truth":          {"admin: {pprof: on it}", "admin.pprof: needs true or false (config.yaml line 1)"},
		"duration without unit":  {"feed: {heartbeat: 25}", "feed.heartbeat: " + durationMessage + " (config.yaml line 1)"},
		"duration as text":       {`feed: {heartbeat: "25"}`, "feed.heartbeat: " + durationMessage + " (config.yaml line 1)"},
		"duration as fraction":   {"feed: {heartbeat: 2.5}", "feed.heartbeat: " + durationMessage + " (config.yaml line 1)"},
		"duration in days":       {"stream: {max_age: 1d}", "stream.max_age: " + durationMessage + " (config.yaml line 1)"},
		"list as text":           {"listen: [a]", "listen: needs text, put it in quotes (config.yaml line 1)"},
		"number as list":         {"trusted_proxies: 10", "trusted_proxies: needs a list (config.yaml line 1)"},
		"section as list":        {"trusted_proxies: {a: b}", "trusted_proxies: needs a list (config.yaml line 1)"},
		"number as list entry":   {"cors: {allowed_origins: [1]}", "cors.allowed_origins[0]: needs text, put it in quotes (config.yaml line 1)"},
		"number as secret":       {"signing_keys: [12345678]", "signing_keys[0]: needs text, put it in quotes (config.yaml line 1)"},
		"number as service key":  {"supabase: {service_role_key: 12345678}", "supabase.service_role_key: needs text, put it in quotes (config.yaml line 1)"},
		"rename as text":         {"names: {columns: [a]}", "names.columns[0]: needs the keys table, column and name (config.yaml line 1)"},
		"rename with other keys": {"names: {columns: [{table: links, column: id, name: x, to: y}]}", "names.columns[0]: has invalid keys: to (config.yaml line 1)"},

		// Addresses and URLs.
		"listen without port":        {"listen: localhost", "listen: needs host:port or :port, such as :8080 or 127.0.0.1:8081 (config.yaml line 1)"},
		"listen on a named port":     {"listen: :http", "listen: needs host:port or :port, such as :8080 or 127.0.0.1:8081 (config.yaml line 1)"},
		"listen on a high port":      {"listen: :65536", "listen: needs host:port or :port, such as :8080 or 127.0.0.1:8081 (config.yaml line 1)"},
		"listen on a bad host":       {`listen: "a b:80"`, "listen: needs host:port or :port, such as :8080 or 127.0.0.1:8081 (config.yaml line 1)"},
		"admin port of visitors":     {"admin: {listen: 127.0.0.1:8080}", "admin.listen: is the address of the visitor port; the two need different ports (config.yaml line 1)"},
		"URL of another scheme":      {"supabase: {url: postgres://x}", "supabase.url: needs a URL that starts with http:// or https:// (config.yaml line 1)"},
		"URL empty":                  {`supabase: {url: ""}`, "supabase.url: needs a URL that starts with http:// or https:// (config.yaml line 1)"},
		"URL with a password":        {"supabase: {url: https://u:hunter2@x.example}", "supabase.url: must not contain a user name or password (config.yaml line 1)"},
		"URL with a query":           {"supabase: {url: 'https://x.example/?apikey=hunter2'}", "supabase.url: must not contain a query or a fragment (config.yaml line 1)"},
		"URL with an empty fragment": {"supabase: {url: 'https://x.example/#'}", "supabase.url: must not contain a query or a fragment (config.yaml line 1)"},
		"URL without host":           {"supabase: {url: 'https:///x'}", "supabase.url: needs a host name or address after :// (config.yaml line 1)"},
		"URL with a bad host":        {"supabase: {url: 'https://-x-/'}", "supabase.url: needs a host name or address after :// (config.yaml line 1)"},
		"URL with a bad port":        {"supabase: {url: 'https://x:70000'}", "supabase.url: needs a port from 1 to 65535, or none (config.yaml line 1)"},
		"URL with an empty port":     {"supabase: {url: 'https://x:'}", "supabase.url: needs a port from 1 to 65535, or none (config.yaml line 1)"},
		"URL of a service":           {"supabase: {url: https://x.example/rest/v1/}", "supabase.url: is the URL of one service; the base URL of the project belongs here, without a path such as /rest/v1 (config.yaml line 1)"},
		"network of a name":          {"trusted_proxies: [proxy]", "trusted_proxies[0]: needs an address or a network, such as 10.0.0.0/8 (config.yaml line 1)"},
		"network too narrow":         {"trusted_proxies: [10.0.0.0/33]", "trusted_proxies[0]: needs an address or a network, such as 10.0.0.0/8 (config.yaml line 1)"},
		"wider than the mapped":      {"trusted_proxies: ['::ffff:0:0/90']", "trusted_proxies[0]: has bits set outside the network, did you mean ::ffc0:0:0/90? (config.yaml line 1)"},
		"network with host bits":     {"trusted_proxies: [127.0.0.1, 10.1.2.3/8]", "trusted_proxies[1]: has bits set outside the network, did you mean 10.0.0.0/8? (config.yaml line 1)"},
		"any origin":                 {"cors: {allowed_origins: ['*']}", `cors.allowed_origins[0]: allows every page ("*"), which only the development server accepts; list the pages' origins (config.yaml line 1)`},
		"null origin":                {"cors: {allowed_origins: ['null']}", `cors.allowed_origins[0]: must not be "null", which every sandboxed page can claim (config.yaml line 1)`},
		"origin without scheme":      {"cors: {allowed_origins: [app.example.com]}", "cors.allowed_origins[0]: " + originForm + " (config.yaml line 1)"},
		"origin with a star":         {"cors: {allowed_origins: ['https://*.example.com']}", "cors.allowed_origins[0]: " + originForm + " (config.yaml line 1)"},
		"origin with a slash":        {"cors: {allowed_origins: ['https://a.example/']}", "cors.allowed_origins[0]: " + originOnly + " (config.yaml line 1)"},
		"origin with a path":         {"cors: {allowed_origins: ['https://a.example/x']}", "cors.allowed_origins[0]: " + originOnly + " (config.yaml line 1)"},
		"origin with a user":         {"cors: {allowed_origins: ['https://u@a.example']}", "cors.allowed_origins[0]: " + originOnly + " (config.yaml line 1)"},
		"origin in capitals":         {"cors: {allowed_origins: ['https://A.example']}", "cors.allowed_origins[0]: needs small letters, browsers send nothing else (config.yaml line 1)"},
		"origin with its own port":   {"cors: {allowed_origins: ['https://a.example:443']}", "cors.allowed_origins[0]: must leave out the scheme's own port, browsers do not send it (config.yaml line 1)"},
		"origin with a bad port":     {"cors: {allowed_origins: ['https://a.example:99999']}", "cors.allowed_origins[0]: needs a port from 1 to 65535, or none (config.yaml line 1)"},

		// Choices, names and lengths.
		"log level":         {"log: {level: loud}", "log.level: needs one of debug, info, warn or error (config.yaml line 1)"},
		"log format":        {"log: {format: xml}", "log.format: needs one of auto, text or json (config.yaml line 1)"},
		"Realtime version":  {"supabase: {realtime_version: 3.0.0}", "supabase.realtime_version: needs one of 1.0.0 or 2.0.0 (config.yaml line 1)"},
		"visibility":        {"chat: {visibility: all}", "chat.visibility: needs one of session or conversation (config.yaml line 1)"},
		"send way":          {"chat: {send_via: mail}", "chat.send_via: needs one of function or insert (config.yaml line 1)"},
		"short signing key": {"signing_keys: [0123456789abcdef0123456789abcdef, hunter2]", "signing_keys[1]: needs at least 32 characters (config.yaml line 1)"},
		"same signing keys": {"signing_keys: [0123456789abcdef0123456789abcdef, 0123456789abcdef0123456789abcdef]", "signing_keys[1]: is listed twice (config.yaml line 1)"},
		"table name":        {"names: {messages: chat-messages}", "names.messages: " + nameMessage + " (config.yaml line 1)"},
		"table name empty":  {`names: {links: ""}`, "names.links: " + nameMessage + " (config.yaml line 1)"},
		"function name":     {"names: {validate_session: 'f(x)'}", "names.validate_session: " + nameMessage + " (config.yaml line 1)"},
		"renamed table":     {"names: {columns: [{table: rooms, column: id, name: x}]}", "names.columns[0].table: needs one of messages, sessions, links, conversation_sessions or agents (config.yaml line 1)"},
		"renamed to none":   {"names: {columns: [{table: links, column: id}]}", "names.columns[0].name: " + nameMessage + " (config.yaml line 1)"},
		"renamed twice": {"names: {columns: [{table: links, column: id, name: x}, {table: links, column: id, name: y}]}",
			"names.columns[1]: renames a column that an earlier entry renames (config.yaml line 1)"},

		// Values that depend on others.
		"catch-up below overlap": {"chat: {overlap: 10m}", "feed.catch_up_overlap: is 5m, needs to be at least chat.overlap (10m)"},
		"confirm below recheck":  {"session: {recheck_interval: 2m}", "session.confirm_within: is 1m, needs to be at least session.recheck_interval (2m)"},
		"drain max below period": {"drain: {max: 5s}", "drain.max: is 5s, needs to be at least drain.period (10s) (config.yaml line 1)"},
		"frame below a message":  {"limits: {frame_bytes: 8192}", "limits.frame_bytes: is 8192, needs to be at least 13024 to hold a message of chat.message_max_length (4000) (config.yaml line 1)"},
		"body below a message":   {"limits: {body_bytes: 8192}", "limits.body_bytes: is 8192, needs to be at least 13024 to hold a message of chat.message_max_length (4000) (config.yaml line 1)"},
		"old sockets": {"supabase: {service_role_key: " + opaqueSecret + "}\nfeed: {socket_max_age: 24h}",
			"feed.socket_max_age: is 24h, needs to be at most 23h with an sb_secret_ key, whose sockets live 24h (config.yaml line 2)"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, row.file)
			require.EqualError(t, err, row.want)
			assert.Nil(t, got)
		})
	}
}

// The ends of each range are accepted and what lies outside is refused.
func TestEveryNumberHasARange(t *testing.T) {
	durations := map[string][2]string{
		"supabase.request_timeout": {"1s", "2m"}, "supabase.function_timeout": {"1s", "10m"},
		"chat.overlap": {"1s", "1h"}, "feed.poll_after": {"100ms", "5m"}, "feed.poll_interval": {"100ms", "5m"},
		"feed.reconcile_interval": {"250ms", "5m"}, "feed.catch_up_overlap": {"10s", "1h"}, "feed.heartbeat": {"1s", "25s"},
		"feed.socket_max_age": {"1m", "720h"}, "feed.unpublished_retry": {"5s", "1h"},
		"session.cache_positive": {"1s", "10m"}, "session.cache_negative": {"1s", "10m"},
		"session.recheck_interval": {"1s", "5m"}, "session.confirm_within": {"5s", "1h"}, "session.ticket_life": {"10s", "1h"},
		"resume.window": {"1s", "1h"}, "limits.header_timeout": {"1s", "2m"}, "limits.authenticate_timeout": {"1s", "2m"},
		"limits.write_timeout": {"1s", "2m"}, "stream.max_age": {"1m", "24h"}, "stream.keep_alive": {"1s", "5m"},
		"stream.retry": {"100ms", "1m"}, "drain.period": {"100ms", "10m"}, "drain.max": {"1s", "1h"},
	}
	numbers := map[string][2]int{
		"supabase.authorize_per_second": {1, 1000}, "chat.history_max": {0, 1000}, "chat.message_max_length": {1, 100_000},
		"session.authorize_concurrency": {1, 256}, "resume.window_events": {1, 100_000}, "resume.window_bytes": {1024, 256 << 20},
		"limits.connections_per_session": {1, 10_000}, "limits.connections_per_address": {1, 1_000_000},
		"limits.connections": {1, 1_000_000}, "limits.new_connections_per_second": {1, 1_000_000},
		"limits.waiting_connections": {16, 1_000_000},
		"limits.messages_per_minute": {1, 6000}, "limits.failed_tokens_per_minute": {1, 6000},
		"limits.frames_per_second": {1, 10_000}, "limits.broadcasts_per_second": {1, 10_000},
		"limits.calls_per_second":     {1, 10_000},
		"limits.realtime_frame_bytes": {4096, 5_000_000},
		"limits.frame_bytes":          {1024, 1 << 20}, "limits.body_bytes": {1024, 16 << 20}, "limits.queue_bytes": {16 << 10, 64 << 20},
		"limits.queue_events": {10, 100_000}, "limits.header_bytes": {4096, 1 << 20},
	}
	outOfRange := func(t *testing.T, key, value string) bool {
		_, err := load(t, "", config.Variable(key)+"="+value)
		return err != nil && strings.Contains(err.Error(), key+": is "+value+", needs to be from ")
	}
	for key, ends := range durations {
		t.Run(key, func(t *testing.T) {
			assert.False(t, outOfRange(t, key, ends[0]))
			assert.False(t, outOfRange(t, key, ends[1]))
			for i, step := range []time.Duration{-time.Nanosecond, time.Nanosecond} {
				end, err := time.ParseDuration(ends[i])
				require.NoError(t, err)
				assert.True(t, outOfRange(t, key, (end+step).String()), (end + step).String())
			}
		})
	}
	for key, ends := range numbers {
		t.Run(key, func(t *testing.T) {
			for i, step := range []int{-1, 1} {
				assert.False(t, outOfRange(t, key, fmt.Sprint(ends[i])))
				assert.True(t, outOfRange(t, key, fmt.Sprint(ends[i]+step)))
			}
		})
	}
	assert.Equal(t, config.NumberKeys(), len(durations)+len(numbers), "a number without a row here")
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := load(t, "feed: {heartbeat: 25}\nother: 1\nchat: {visibility: all}", "PROXY_LISTEN=x", "PROXY_LISTENS=:1", "PROXY_ADMIN_PPROF=yes")
	var bad *config.Error
	require.ErrorAs(t, err, &bad)
	assert.Equal(t, []config.Problem{
		{"PROXY_LISTENS", "is not a known variable, did you mean PROXY_LISTEN?"},
		{"admin.pprof", "needs true or false (set by PROXY_ADMIN_PPROF)"},
		{"chat.visibility", "needs one of session or conversation (config.yaml line 3)"},
		{"feed.heartbeat", "needs a duration with a unit, such as 250ms, 10s or 2m (config.yaml line 1)"},
		{"listen", "needs host:port or :port, such as :8080 or 127.0.0.1:8081 (set by PROXY_LISTEN)"},
		{"other", "is not a known key (config.yaml line 2)"},
	}, bad.Problems)
	assert.Len(t, strings.Split(err.Error(), "\n"), 6)
}

func TestKeyOfTheWrongKindIsRefused(t *testing.T) {
	const neither = "is neither a JWT nor an sb_ key; Realtime needs one of the two"
	const incomplete = "starts with sb_ but is no complete sb_secret_ or sb_publishable_ key"
	past := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, row := range map[string]struct{ key, service, anon string }{
		"service JWT":     {roleKey(t, "service_role"), "", "is not the anon or publishable key; a key with more rights must not stand here"},
		"own role's JWT":  {roleKey(t, "realtime_proxy"), "", "is not the anon or publishable key; a key with more rights must not stand here"},
		"secret key":      {opaqueSecret, "", "is not the anon or publishable key; a key with more rights must not stand here"},
		"anon JWT":        {roleKey(t, "anon"), "is the anon or publishable key, which can read no messages; the service_role or secret key belongs here", ""},
		"publishable key": {opaquePublishable, "is the anon or publishable key, which can read no messages; the service_role or secret key belongs here", ""},
		"user's JWT":      {roleKey(t, "authenticated"), "is a signed-in user's token; the service_role or secret key belongs here", "is not the anon or publishable key; a key with more rights must not stand here"},
		"expired": {signed(t, jwt.MapClaims{"role": "service_role", "exp": past.Unix()}),
			"is a JWT that expired on 2024-02-03", "is a JWT that expired on 2024-02-03"},
		"no exp":           {signed(t, jwt.MapClaims{"role": "anon"}), "is a JWT without the claim exp; Realtime refuses it", "is a JWT without the claim exp; Realtime refuses it"},
		"exp as text":      {signed(t, jwt.MapClaims{"role": "anon", "exp": "never"}), "is a JWT without the claim exp; Realtime refuses it", "is a JWT without the claim exp; Realtime refuses it"},
		"no role":          {signed(t, jwt.MapClaims{"exp": 1}), "is a JWT without the claim role; Realtime refuses it", "is a JWT without the claim role; Realtime refuses it"},
		"a password":       {"hunter2", neither, neither},
		"almost a JWT":     {"hunter2.hunter2.hunter2", neither, neither},
		"cut off":          {"sb_secret_", incomplete, incomplete},
		"other opaque key": {"sb_temp_0123456789abcdefghij", incomplete, incomplete},
		"with a line end":  {"sb_secret_0123456789\nabcdefghij", incomplete, incomplete},
	} {
		for key, want := range map[string]string{"service_role_key": row.service, "anon_key": row.anon} {
			t.Run(name+" as "+key, func(t *testing.T) {
				_, err := load(t, fmt.Sprintf("supabase: {%s: %q}", key, row.key))
				if want == "" {
					require.NoError(t, err)
					return
				}
				assert.EqualError(t, err, "supabase."+key+": "+want+" (config.yaml line 1)")
			})
		}
	}
}

func TestMissingServiceKeySaysWhereToGetIt(t *testing.T) {
	args := config.LoadOptions{File: write(t, ""), Environ: []string{}}
	_, err := config.Load(args)
	require.EqualError(t, err, "supabase.service_role_key: is missing: set SUPABASE_SERVICE_ROLE_KEY to the service_role or secret key "+
		"that `supabase status -o env` prints for a local project and the API settings of the dashboard show for a hosted one")
	args.Dev = true
	_, err = config.Load(args)
	require.NoError(t, err)
}

func TestAnyOriginIsForDevelopment(t *testing.T) {
	got, err := config.Load(config.LoadOptions{File: write(t, ""), Environ: []string{"PROXY_CORS_ALLOWED_ORIGINS=*"}, Dev: true})
	require.NoError(t, err)
	assert.Equal(t, []string{"*"}, got.CORS.AllowedOrigins)
}
