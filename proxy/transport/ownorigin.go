package transport

import (
	"net/http"
	"strings"
)

// isOwn reports whether an origin is that of the proxy's own pages, which stand on no list. Where the proxy serves no page nobody has
// that origin by right: a foreign page comes by it when its name is made to point at the proxy.
func (s *Server) isOwn(r *http.Request, origin string) bool {
	scheme, host, _ := strings.Cut(strings.ToLower(origin), "://")
	if !s.opts.OwnPages || host == "" || host != strings.ToLower(r.Host) {
		return false
	}
	if known := s.schemeOf(r); known != "" {
		return scheme == known
	}
	return scheme == "http" || scheme == "https"
}

// schemeOf is the scheme of the address that the visitor called: what the nearest trusted proxy says, or the socket's. It is "" where
// a proxy in front may have ended TLS without a word.
func (s *Server) schemeOf(r *http.Request) string {
	if isTrusted(socketAddr(r.RemoteAddr), s.opts.TrustedProxies) {
		said := strings.ToLower(strings.Join(r.Header.Values("X-Forwarded-Proto"), ","))
		switch strings.TrimSpace(said[strings.LastIndexByte(said, ',')+1:]) {
		case "http", "ws":
			return "http"
		case "https", "wss":
			return "https"
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return ""
}
