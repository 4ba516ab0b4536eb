package proxy

import (
	"net/http"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/web"
)

// routes are the visitors' paths: the browser client, the chat page where it is wanted, and transport's. A http.ServeMux would redirect
// paths that are not in their shortest form, query included, and a query may hold a token.
func (s *Server) routes() http.Handler {
	client, react, page, visitors := web.ClientJS(), web.ReactJS(), web.Page("/chat"), s.transport.Handler()
	return bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Addresses stay out of Referer, whoever answers.
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch p := r.URL.Path; {
		case p == "/client.js":
			client.ServeHTTP(w, r)
		case p == "/react.js":
			react.ServeHTTP(w, r)
		case s.opts.Pages && (p == "/chat" || strings.HasPrefix(p, "/chat/")):
			page.ServeHTTP(w, r)
		default:
			visitors.ServeHTTP(w, r)
		}
	}), s.opts.Limits.WriteTimeout)
}
