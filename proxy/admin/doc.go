// Package admin is the operator's port: liveness, readiness, metrics, a status document and, when enabled, profiles.
//
//	GET /livez         200 "ok" as long as the process serves requests
//	GET /readyz        200 "ready", or 503 {"code","message"} while the proxy should get no visitors
//	GET /metrics       the registry in Prometheus' text format
//	GET /status        a JSON document, if the caller supplies one
//	GET /debug/pprof/  Go profiles, if enabled
//
// The port has no authentication. It belongs on loopback or a private network. On loopback it answers only requests
// that name this machine, so that no web page can read it by pointing a domain of its own at 127.0.0.1.
//
// # Life cycle
//
// New checks the options and opens nothing. Run listens, serves until its context ends, shuts down within 5 s and
// returns with every goroutine joined; it may be called once. Handler is for tests and for serving the same routes
// elsewhere, without the check of the host. All methods are safe for concurrent use; Options.Ready and Options.Status are
// called from many requests at once.
package admin
