package transport

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	corsMethods = "GET, POST, OPTIONS"
	// The first four are those of the functions that the proxy replaces.
	corsHeaders = "authorization, x-client-info, apikey, content-type, cache-control, last-event-id"
	corsExposed = "Retry-After, X-Request-Id"
	corsMaxAge  = "600" // seconds
)

// origins are the pages that may call from a browser.
type origins struct {
	any  bool
	list []string
}

func newOrigins(list []string) origins {
	o := origins{any: slices.Contains(list, "*")}
	for _, origin := range list {
		o.list = append(o.list, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	return o
}

// allow reports whether a page of this origin is on the list. No Origin means no browser page, or one of the called host's own.
func (o *origins) allow(origin string) bool {
	return origin == "" || o.any || slices.Contains(o.list, strings.ToLower(origin))
}

// withCORS answers preflights, names the origin that may read the answer, and refuses pages that may not call. A link's own domains
// narrow that further once the link is known (authorize).
func (s *Server) withCORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		origin := r.Header.Get("Origin")
		allowed := s.origins.allow(origin) || s.isOwn(r, origin)
		if !s.origins.any {
			h.Add("Vary", "Origin")
		}
		if allowed {
			s.exposeTo(h, origin)
		}
		switch {
		case r.Method == http.MethodOptions:
			h.Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte("ok"))
		case !allowed:
			s.refuse(w, r, refuseOrigin())
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// exposeTo lets the page that asked read the answer.
func (s *Server) exposeTo(h http.Header, origin string) {
	switch {
	case s.origins.any:
		origin = "*"
	case origin == "":
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Expose-Headers", corsExposed)
	h.Set("Access-Control-Max-Age", corsMaxAge)
}

func refuseOrigin() *chat.Refusal {
	return &chat.Refusal{
		Status: http.StatusForbidden, Code: "origin_not_allowed", Message: "This origin is not allowed",
		Disconnect: chat.InvalidSession,
	}
}

// ofDomains reports whether an origin's host is one of the domains, or below one that begins with "*." or "."; "*" alone is any.
func ofDomains(origin string, domains []string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	for _, domain := range domains {
		domain = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(domain)), "/")
		if domain == "*" {
			return true
		}
		if below, ok := strings.CutPrefix(strings.TrimPrefix(domain, "*"), "."); ok {
			if below != "" && strings.HasSuffix(host, "."+below) {
				return true
			}
			continue
		}
		if domain == host || domain == strings.ToLower(u.Host) || domain == strings.ToLower(origin) {
			return true
		}
	}
	return false
}
