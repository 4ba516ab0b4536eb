package transport

import (
	"io"
	"net/http"
	"time"
)

// unreadTimeout bounds the reading of a body that no handler has looked at. The HTTP server drains it before it closes the request,
// without a deadline of its own.
const unreadTimeout = 5 * time.Second

// watchedBody knows whether it was read.
type watchedBody struct {
	io.ReadCloser
	read bool
}

// Read reads the body.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

// boundUnread keeps a refused request from holding its connection with a body that does not come.
func boundUnread(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Body == http.NoBody { // a GET's connection may become a stream's
			next.ServeHTTP(w, r)
			return
		}
		body := &watchedBody{ReadCloser: r.Body}
		r.Body = body
		next.ServeHTTP(w, r)
		if !body.read {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout)) // not every writer has one
		}
	})
}
