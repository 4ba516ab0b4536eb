package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// functionHandler serves /functions/v1: temporary-chat-api and temporary-chat-handler.
type functionHandler struct {
	s     *Server
	store Store
}

const storeTimeout = 10 * time.Second // for the statements of one step

// database is the context of statements: they go on when the client leaves.
func (h *functionHandler) database() (context.Context, context.CancelFunc) {
	return context.WithTimeout(h.s.ctx, storeTimeout)
}

// call runs a function of the database and gives its first row, nil when there is none.
func (h *functionHandler) call(name string, args Row) (Row, error) {
	ctx, cancel := h.database()
	defer cancel()
	rows, err := h.store.Call(ctx, name, args)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

func (h *functionHandler) transact(fn func(Statements) error) error {
	ctx, cancel := h.database()
	defer cancel()
	return h.store.Transact(ctx, fn)
}

// firstRow gives one row that equals where, nil when there is none.
func firstRow(tx Statements, table string, where Row) (Row, error) {
	rows, err := tx.Rows(table, where)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

func (h *functionHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, _ := strings.Cut(strings.Trim(strings.TrimPrefix(r.URL.Path, "/functions/v1"), "/"), "/")
	var serve func(http.ResponseWriter, *http.Request, []byte)
	methods := "POST, GET, OPTIONS"
	switch name {
	case "temporary-chat-api":
		serve = h.api(path)
	case "temporary-chat-handler":
		methods, serve = "POST, OPTIONS", h.message
	default:
		sendJSON(w, http.StatusNotFound, struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}{"NOT_FOUND", "Requested function was not found"})
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "authorization, x-client-info, apikey, content-type")
	w.Header().Set("Access-Control-Allow-Methods", methods)
	if r.Method == http.MethodOptions {
		_, _ = w.Write([]byte("ok"))
		return
	}
	if name == "temporary-chat-handler" && r.Method != http.MethodPost {
		sendJSON(w, http.StatusMethodNotAllowed, failure{Error: "Method not allowed"})
		return
	}
	body, err := readBody(r)
	if err != nil {
		h.internalError(w, err)
		return
	}
	serve(w, r, body)
}

// failure is the common shape of error bodies.
type failure struct {
	Success *bool  `json:"success,omitempty"`
	Error   string `json:"error"`
	Details string `json:"details,omitempty"`
	Valid   *bool  `json:"valid,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Ended   *bool  `json:"ended,omitempty"`
}

var denied = new(bool)

func (h *functionHandler) internalError(w http.ResponseWriter, err error) {
	sendJSON(w, http.StatusInternalServerError, struct {
		Error     string `json:"error"`
		Message   string `json:"message"`
		Timestamp string `json:"timestamp"`
	}{"Internal server error", causeText(err), h.timestamp()})
}

// causeText is error.message as the function sees it through supabase-js.
func causeText(err error) string {
	if pg, ok := errors.AsType[*Error](err); ok {
		return pg.Message
	}
	return err.Error()
}

// timestamp is Date.prototype.toISOString of now.
func (h *functionHandler) timestamp() string { return isoMillis(h.s.opts.Now()) }

func isoMillis(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func sendJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		status, b = http.StatusInternalServerError, *bytes.NewBufferString(`{"error":"Internal server error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n"))) // a client that went away needs no answer
}

// clientIP is what the functions store: the first of three headers. The gateway in front always sets one of them.
func clientIP(r *http.Request) string {
	for _, name := range []string{"Cf-Connecting-Ip", "X-Forwarded-For", "X-Real-Ip"} {
		if v := r.Header.Get(name); v != "" {
			return v
		}
	}
	return "127.0.0.1"
}

// wait sleeps for d unless the server closes first.
func (s *Server) wait(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// friendlyAgent answers when no other agent is configured.
func friendlyAgent(_ context.Context, text string) string {
	switch lower := strings.ToLower(text); {
	case strings.Contains(lower, "hello") || strings.Contains(lower, "hi "):
		return "Hello! How can I help you today?"
	case strings.Contains(lower, "thank"):
		return "You are welcome. Is there anything else I can do?"
	case strings.Contains(lower, "bye"):
		return "Goodbye, and thank you for the chat."
	case strings.HasSuffix(strings.TrimSpace(text), "?"):
		return "That is a good question. Tell me a little more and I will do my best to answer."
	}
	return "Thanks, I have noted that. Could you tell me more?"
}
