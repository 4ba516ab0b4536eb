package proxy

import (
	"net/http"
	"time"
)

// unreadTimeout bounds the reading of a body that no handler looks at. The HTTP server reads it to its end before it sends the answer,
// without a deadline of its own.
const unreadTimeout = 5 * time.Second

// bounded gives every request deadlines for its body and its answer, so that a peer who neither sends nor reads holds no connection.
// Whoever reads a body or writes late sets their own, and leaves the last one in place: the HTTP server goes on with the connection.
// A deadline for the body never comes to a stream's connection: transport refuses a GET with a body.
func bounded(next http.Handler, writeTimeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, now := http.NewResponseController(w), time.Now()
		_ = conn.SetWriteDeadline(now.Add(writeTimeout)) // the connections of this server have deadlines
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		_ = conn.SetReadDeadline(now.Add(unreadTimeout))
		_ = conn.SetWriteDeadline(now.Add(unreadTimeout + writeTimeout))
		next.ServeHTTP(w, r)
	})
}
