package standin

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

var upgrader = websocket.Upgrader{
	CheckOrigin:     func(*http.Request) bool { return true },
	WriteBufferPool: &sync.Pool{},
	ReadBufferSize:  4096, WriteBufferSize: 4096,
}

func (rt *realtime) serveSocket(w http.ResponseWriter, r *http.Request) {
	if rt.refuse(w, r) {
		return
	}
	version, err := phoenix.ParseVersion(r.URL.Query().Get("vsn"))
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	c, err := rt.authenticate(r)
	if err != nil {
		rt.refuseWith(w, r, http.StatusUnauthorized, err.Error())
		return
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	s := &socket{
		rt: rt, conn: conn, version: version, claims: c, channels: make(map[string]*channel),
		queue: make(chan outbound, rt.s.opts.QueueFrames), done: make(chan struct{}),
	}
	if !rt.register(s) {
		s.kill()
		return
	}
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		s.write()
	}()
	s.read()
	s.kill()
	<-writer
	rt.unregister(s)
}

// refuse plays the faults that refuse a handshake.
func (rt *realtime) refuse(w http.ResponseWriter, r *http.Request) bool {
	faults := rt.s.faults
	_, refused := faults.fire(RefuseDial, "")
	if !refused {
		_, refused = faults.fire(DatabaseDown, "")
	}
	if refused {
		writeFailure(w, Fault{Status: http.StatusInternalServerError, Body: "<html><body>Internal Server Error</body></html>"})
		return true
	}
	fault, refused := faults.fire(RefuseHandshake, "")
	if refused {
		if fault.Status == 0 {
			fault.Status, fault.Reason = http.StatusTooManyRequests, "Too many connected users"
		}
		rt.refuseWith(w, r, fault.Status, fault.Reason)
	}
	return refused
}

func (rt *realtime) refuseWith(w http.ResponseWriter, r *http.Request, status int, text string) {
	if !rt.s.waitRequest(r, rt.s.opts.HandshakeBackoff) {
		panic(http.ErrAbortHandler)
	}
	body, _ := json.Marshal(map[string]string{"error": text})
	writeJSON(w, status, body)
}

// authenticate reads the key of a handshake: header x-api-key, then query apikey.
func (rt *realtime) authenticate(r *http.Request) (claims, error) {
	token := r.Header.Get("X-Api-Key")
	if token == "" {
		if !r.URL.Query().Has("apikey") {
			return claims{}, wireText("API key is missing")
		}
		token = r.URL.Query().Get("apikey")
	}
	c, err := rt.s.keys.verify(token)
	if refused, ok := errors.AsType[*tokenError](err); ok && refused.expired {
		return c, wireText("Token has expired")
	}
	return c, err
}

func (rt *realtime) register(s *socket) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.s.ctx.Err() != nil {
		return false
	}
	rt.sockets[s] = struct{}{}
	rt.notifyLocked()
	return true
}

func (rt *realtime) unregister(s *socket) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, c := range s.channels {
		rt.endLocked(c)
	}
	delete(rt.sockets, s)
	rt.notifyLocked()
}
