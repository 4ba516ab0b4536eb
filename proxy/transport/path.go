package transport

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// oneSlash serves a path that begins with several slashes as the one that begins with one: a base URL that ends with a slash, joined
// with a path, yields that. No redirect tells of it, because it would repeat the query, which may hold a token.
func oneSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if escaped := r.URL.EscapedPath(); strings.HasPrefix(escaped, "//") {
			r = withPath(r, len(escaped)-len(strings.TrimLeft(escaped, "/"))-1)
		}
		next.ServeHTTP(w, r)
	})
}

// withPath is the request without the first n bytes of its path, which are slashes in every form of it.
func withPath(r *http.Request, n int) *http.Request {
	u := *r.URL
	u.Path = u.Path[n:]
	u.RawPath = u.RawPath[min(n, len(u.RawPath)):] // often empty
	out := *r
	out.URL = &u
	return &out
}

// withoutOddities refuses what no visitor's program sends: paths that are not in their shortest form, which a http.ServeMux would
// redirect, query included; and a body of a GET, whose connection may become a stream's, where a deadline for the body would stay behind.
func (s *Server) withoutOddities(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && r.ContentLength != 0:
			s.refuse(w, r, refuseRequest(http.StatusBadRequest, "body_not_allowed", "A GET has no body"))
		case !isShortest(r.URL):
			s.notFound(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func isShortest(u *url.URL) bool {
	p := u.EscapedPath()
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || clean != "/" && p == clean+"/")
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, refuseRequest(http.StatusNotFound, "not_found", "Not Found"))
}
