package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "PROXY_"
	envFile   = "PROXY_CONFIG"
)

const (
	keyURL     = "supabase.url"
	keyService = "supabase.service_role_key"
	keyAnon    = "supabase.anon_key"
)

// aliases are the names that Supabase itself gives to the variables of a project. Of several that are set, a JWT wins
// over an opaque key, because it also works where no gateway translates keys; else the first.
var aliases = map[string][]string{
	keyURL:     {"SUPABASE_URL"},
	keyService: {"SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY"},
	keyAnon:    {"SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY"},
}

// localAliases are what `supabase status -o env` prints for the local stack.
var localAliases = map[string][]string{
	keyURL:     {"API_URL"},
	keyService: {"SERVICE_ROLE_KEY", "SECRET_KEY"},
	keyAnon:    {"ANON_KEY", "PUBLISHABLE_KEY"},
}

// serviceLinks match the variables that container platforms set in every container when a service is named "proxy".
var serviceLinks = regexp.MustCompile(
	`^PROXY_(NAME|SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$`)

// environment is the variables that hold something.
type environment map[string]string

func newEnvironment(environ []string) environment {
	env := make(environment, len(environ))
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value = unquote(strings.TrimSpace(value)); value == "" {
			continue
		}
		if _, ok := env[name]; !ok { // the first wins, as in os.Getenv
			env[name] = value
		}
	}
	return env
}

func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}

// variable returns the environment's name of a key.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// settings returns the value of every key that a variable sets and reports variables that look like ours but are not.
func (env environment) settings(p *problems) map[string]string {
	settings := make(map[string]string)
	names := []string{envFile}
	for _, key := range schema.leaves("") {
		name := variable(key)
		names = append(names, name)
		if env[name] == "" {
			name = env.preferred(aliases[key])
		}
		if name != "" && env[name] != "" {
			settings[key] = env[name]
			p.origins[key] = "set by " + name
		}
	}
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(names, name) && !serviceLinks.MatchString(name) {
			p.add(name, "is not a known variable%s", didYouMean(nearest(name, names)))
		}
	}
	return settings
}

// local returns what the local stack's variables set, nothing if one of Supabase's own variables is set or API_URL is
// not on this machine: these names are too common to send a production key anywhere on their word.
func (env environment) local() map[string]string {
	for _, names := range aliases {
		if env.preferred(names) != "" {
			return nil
		}
	}
	if !isLoopback(env["API_URL"]) {
		return nil
	}
	settings := make(map[string]string)
	for key, names := range localAliases {
		if name := env.preferred(names); name != "" {
			settings[key] = env[name]
		}
	}
	return settings
}

func (env environment) preferred(names []string) string {
	first := ""
	for _, name := range names {
		switch value := env[name]; {
		case value == "":
		case strings.Count(value, ".") == 2:
			return name
		case first == "":
			first = name
		}
	}
	return first
}

// isLoopback tells whether a URL points to this machine.
func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	return isLoopbackHost(u.Hostname())
}

func isLoopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// samePort tells whether two listen addresses cannot both be bound.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isAnyHost(hostA) || isAnyHost(hostB)
}

func isAnyHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}
