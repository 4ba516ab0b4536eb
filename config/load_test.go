package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/config"
)

const (
	opaqueSecret      = "sb_secret_0123456789abcdefghij"
	opaquePublishable = "sb_publishable_0123456789abcdefghij"
)

func signed(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("any key will do, it is not verified"))
	require.NoError(t, err)
	return token
}

func roleKey(t *testing.T, role string) string {
	t.Helper()
	return signed(t, jwt.MapClaims{"role": role, "exp": time.Now().Add(time.Hour).Unix()})
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func flagSet(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.Flags(fs)
	require.NoError(t, fs.Parse(args))
	return fs
}

// load reads text as the file, with the given variables and no others.
func load(t *testing.T, text string, environ ...string) (*config.Config, error) {
	t.Helper()
	return config.Load(config.LoadOptions{
		File: write(t, text), FileExplicit: true, Environ: append([]string{}, environ...), WithoutKey: true,
	})
}

func TestExampleFileEqualsDefault(t *testing.T) {
	got, err := config.Load(config.LoadOptions{
		File: "../config.example.yaml", FileExplicit: true, Environ: []string{}, WithoutKey: true,
	})
	require.NoError(t, err)
	assert.Equal(t, config.Default(), *got)
}

func TestExampleFileShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile("../config.example.yaml")
	require.NoError(t, err)
	for _, key := range config.Keys() {
		section, name, dotted := strings.Cut(key, ".")
		line := "\n" + section + ":"
		if dotted {
			require.Contains(t, string(text), line+"\n", key)
			_, below, _ := strings.Cut(string(text), line+"\n")
			below, _, _ = strings.Cut(below, "\n\n")
			assert.Contains(t, "\n"+below, "\n  "+name+":", key)
			continue
		}
		assert.Contains(t, string(text), line, key)
	}
}

func TestNothingSetGivesDefault(t *testing.T) {
	for name, text := range map[string]string{
		"empty file":      "",
		"only comments":   "# nothing\n",
		"empty document":  "---\n",
		"keys left empty": "listen:\nfeed:\nchat:\n  overlap:\ncors:\n  allowed_origins:\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, text)
			require.NoError(t, err)
			assert.Equal(t, config.Default(), *got)
		})
	}
}

func TestFlagsBeatEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	args := config.LoadOptions{Environ: []string{}, WithoutKey: true, Flags: flagSet(t)}
	listen := func() string {
		got, err := config.Load(args)
		require.NoError(t, err)
		return got.Listen
	}
	assert.Equal(t, ":8080", listen())
	args.File = write(t, "listen: :1")
	assert.Equal(t, ":1", listen())
	args.Environ = []string{"PROXY_LISTEN=:2"}
	assert.Equal(t, ":2", listen())
	args.Flags = flagSet(t, "--listen", ":3")
	assert.Equal(t, ":3", listen())
}

func TestEveryFlagSetsItsKey(t *testing.T) {
	t.Chdir(t.TempDir())
	got, err := config.Load(config.LoadOptions{Environ: []string{}, WithoutKey: true, Flags: flagSet(t,
		"--listen=:1", "--admin-listen=:2", "--supabase-url=https://x.example/", "--log-level=debug", "--log-format=json")})
	require.NoError(t, err)
	want := config.Default()
	want.Listen, want.Admin.Listen, want.Supabase.URL = ":1", ":2", "https://x.example"
	want.Log = config.Log{Level: "debug", Format: "json"}
	assert.Equal(t, want, *got)
}

func TestFileIsFound(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, port := range map[string]string{"config.yaml": "1", "other.yaml": "2", "third.yaml": "3"} {
		require.NoError(t, os.WriteFile(name, []byte("listen: :"+port), 0o600))
	}
	for name, row := range map[string]struct {
		args config.LoadOptions
		want string
	}{
		"the default":         {config.LoadOptions{}, ":1"},
		"by flag":             {config.LoadOptions{Flags: flagSet(t, "--config", "other.yaml"), Environ: []string{"PROXY_CONFIG=third.yaml"}}, ":2"},
		"by variable":         {config.LoadOptions{Flags: flagSet(t), Environ: []string{"PROXY_CONFIG=third.yaml"}}, ":3"},
		"by option":           {config.LoadOptions{File: "other.yaml", Flags: flagSet(t, "--config", "third.yaml")}, ":2"},
		"missing, not needed": {config.LoadOptions{File: "none.yaml"}, ":8080"},
	} {
		t.Run(name, func(t *testing.T) {
			row.args.WithoutKey = true
			row.args.Environ = append([]string{}, row.args.Environ...)
			got, err := config.Load(row.args)
			require.NoError(t, err)
			assert.Equal(t, row.want, got.Listen)
		})
	}
}

func TestMissingFileIsRefusedWhenNamed(t *testing.T) {
	for name, args := range map[string]config.LoadOptions{
		"by option":   {File: "none.yaml", FileExplicit: true, Environ: []string{}},
		"by flag":     {Flags: flagSet(t, "--config", "none.yaml"), Environ: []string{}},
		"by variable": {Environ: []string{"PROXY_CONFIG=none.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			args.WithoutKey = true
			_, err := config.Load(args)
			assert.EqualError(t, err, "none.yaml: cannot be read: no such file or directory")
		})
	}
}

func TestFileSetsListsAndRenames(t *testing.T) {
	got, err := load(t, `
trusted_proxies: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32", "::ffff:10.0.0.0/104", "::ffff:192.0.2.8"]
signing_keys: [0123456789abcdef0123456789abcdef]
cors: {allowed_origins: []}
names:
  columns:
    - {table: messages, column: created_at, name: inserted_at}
    - {table: sessions, column: id, name: session_id}
`)
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.8/32"),
	}, got.TrustedProxies)
	assert.Equal(t, []config.Secret{"0123456789abcdef0123456789abcdef"}, got.SigningKeys)
	assert.Empty(t, got.CORS.AllowedOrigins)
	assert.Equal(t, map[string]string{"created_at": "inserted_at"}, got.Names.Renames("messages"))
	assert.Equal(t, map[string]string{"id": "session_id"}, got.Names.Renames("sessions"))
	assert.Empty(t, got.Names.Renames("links"))
}

func TestFileMayUseAnchors(t *testing.T) {
	got, err := load(t, "stream: {retry: &short 3s}\nfeed: {poll_after: *short, poll_interval: *short}")
	require.NoError(t, err)
	assert.Equal(t, [3]time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second},
		[3]time.Duration{got.Stream.Retry, got.Feed.PollAfter, got.Feed.PollInterval})
}

func TestSocketMaxAgeFollowsTheKey(t *testing.T) {
	for name, row := range map[string]struct {
		key  string
		file string
		want time.Duration
	}{
		"JWT":                 {roleKey(t, "service_role"), "", 0},
		"opaque":              {opaqueSecret, "", 20 * time.Hour},
		"JWT, configured":     {roleKey(t, "service_role"), "feed: {socket_max_age: 48h}", 48 * time.Hour},
		"opaque, configured":  {opaqueSecret, "feed: {socket_max_age: 1h}", time.Hour},
		"zero needs no unit":  {opaqueSecret, "feed: {socket_max_age: 0}", 20 * time.Hour},
		"opaque by way of 0s": {opaqueSecret, "feed: {socket_max_age: 0s}", 20 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, row.file, "SUPABASE_SERVICE_ROLE_KEY="+row.key)
			require.NoError(t, err)
			assert.Equal(t, row.want, got.SocketMaxAge())
		})
	}
}

func TestLogLevelIsALeveler(t *testing.T) {
	for level, want := range map[string]string{"debug": "DEBUG", "info": "INFO", "warn": "WARN", "error": "ERROR", "loud": "INFO"} {
		assert.Equal(t, want, config.Log{Level: level}.Leveler().Level().String())
	}
}

func TestAdminListenIgnoresProblemsOfOtherKeys(t *testing.T) {
	for name, row := range map[string]struct{ file, variable, want, problem string }{
		"nothing set":   {"", "", "127.0.0.1:8081", ""},
		"file":          {"admin: {listen: ':9'}", "", ":9", ""},
		"others' wrong": {"admin: {listen: ':9', pprof: 3}\nlisten: x\nother: y", "PROXY_OTHER=1", ":9", ""},
		"itself wrong":  {"admin: {listen: 9}", "", "", "admin.listen: needs text, put it in quotes (config.yaml line 1)"},
		"no section":    {"admin: x", "", "", "admin: is a section and needs keys below it (config.yaml line 1)"},
		"file wrong":    {"- admin", "", "", "config.yaml: needs keys and values at the top level"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.AdminListen(config.LoadOptions{File: write(t, row.file), Environ: []string{row.variable}})
			if row.problem != "" {
				require.EqualError(t, err, row.problem)
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, row.want, got)
		})
	}
}
