package proxy

import (
	"net/http"

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
	return mux
}
