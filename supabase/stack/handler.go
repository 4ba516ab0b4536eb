package stack

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

const (
	restPrefix = "/rest/v1"
	idleConns  = 64
)

// newTransport is a pool of connections of one stack, so that none outlives it.
func newTransport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: idleConns, IdleConnTimeout: time.Minute}
}

// Handler serves PostgREST under /rest/v1/ as the gateway of a project does: the apikey header stands in for a missing
// Authorization. Everything else is 404, PostgREST out of reach is 502.
func (s *Stack) Handler() http.Handler {
	target := &url.URL{Scheme: "http", Host: address(s.restPort)}
	proxy := &httputil.ReverseProxy{
		Transport: s.transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			if key := r.In.Header.Get("Apikey"); key != "" && r.In.Header.Get("Authorization") == "" {
				r.Out.Header.Set("Authorization", "Bearer "+key)
			}
		},
		ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			body := `{"message":"The upstream server is unreachable"}`
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte(body)) // the client has gone, or has it
		},
	}
	mux := http.NewServeMux()
	mux.Handle(restPrefix+"/", http.StripPrefix(restPrefix, proxy))
	return mux
}
