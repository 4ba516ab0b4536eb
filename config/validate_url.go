package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// hostName is a DNS name or a label such as a container's; IDNs come in their ASCII form.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func isHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || len(host) <= 253 && hostName.MatchString(host)
}

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == port
}

func (v *validator) listen(key, address string) {
	if v.has(key) {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || !isPort(port) || host != "" && !isHost(host) {
		v.add(key, "needs host:port or :port, such as :8080 or 127.0.0.1:8081")
	}
}

// baseURL checks a URL without ever printing it: what is wrong about it may be a password inside.
func (v *validator) baseURL(key, text string) {
	if v.has(key) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		v.add(key, "needs a URL that starts with http:// or https://")
	case u.User != nil:
		v.add(key, "must not contain a user name or password")
	case strings.ContainsAny(text, "?#"):
		v.add(key, "must not contain a query or a fragment")
	case !isHost(u.Hostname()):
		v.add(key, "needs a host name or address after ://")
	case u.Port() == "0" || u.Port() != "" && !isPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		v.add(key, "needs a port from 1 to 65535, or none")
	}
}

func (v *validator) origins() {
	for i, origin := range v.CORS.AllowedOrigins {
		key := fmt.Sprintf("cors.allowed_origins[%d]", i)
		if v.has(key) || origin == "*" && v.options.Dev {
			continue
		}
		if message := originProblem(origin); message != "" {
			v.add(key, "%s", message)
		}
	}
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// originProblem returns what keeps a browser's Origin header from ever equalling text, or "".
func originProblem(text string) string {
	switch text {
	case "*":
		return `allows every page ("*"), which only the development server accepts; list the pages' origins`
	case "null":
		return `must not be "null", which every sandboxed page can claim`
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || !isHost(u.Hostname()) || strings.HasSuffix(u.Host, ":"):
		return "needs the form scheme://host or scheme://host:port, such as https://app.example.com"
	case text != u.Scheme+"://"+u.Host:
		return "needs only scheme://host[:port]: no user, path, query or closing slash, and the scheme in small letters"
	case u.Host != strings.ToLower(u.Host):
		return "needs small letters, browsers send nothing else"
	case u.Port() != "" && (!isPort(u.Port()) || u.Port() == "0"):
		return "needs a port from 1 to 65535, or none"
	case u.Port() != "" && u.Port() == defaultPorts[u.Scheme]:
		return "must leave out the scheme's own port, browsers do not send it"
	}
	return ""
}
