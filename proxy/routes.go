package proxy

import (
	"net/http"
	"path"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/web"
)

// routes are the visitors' paths: transport's own, the browser client, and the chat page where it is wanted.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/client.js", web.ClientJS())
	mux.Handle("/react.js", web.ReactJS())
	if s.opts.Pages {
		page := web.Page("/chat")
		mux.Handle("/chat", page)
		mux.Handle("/chat/", page)
	}
	mux.Handle("/", s.transport.Handler())
	return bounded(discreet(mux), s.opts.Limits.WriteTimeout)
}

// discreet keeps addresses, whose queries hold tokens, out of Referer and Location. A http.ServeMux redirects a path that is not in its
// shortest form, query included; no such path is served here.
func discreet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !isShortest(r.URL.EscapedPath()) {
			writeError(w, http.StatusNotFound, `{"error":"Not Found"}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isShortest(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || clean != "/" && p == clean+"/")
}
