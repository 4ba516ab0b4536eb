package proxy

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// Parts are the options of a server's parts.
type Parts struct {
	Sessions  session.Options
	Transport transport.Options
	HTTP      *http.Server
}

// PartsOf makes a server and tells what it hands on.
func PartsOf(o Options) (Parts, error) {
	s, err := New(o)
	if err != nil {
		return Parts{}, err
	}
	s.opts.Registry = prometheus.NewRegistry() // the first has the metrics of the parts
	return Parts{s.sessionOptions(), s.transportOptions(), s.http}, nil
}
