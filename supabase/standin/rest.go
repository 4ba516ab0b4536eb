package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxBody = 16 << 20 // bytes of a request body

// restHandler serves /rest/v1.
type restHandler struct {
	db      *DB
	keys    *keyring
	maxRows int
}

// prefer holds the words of the Prefer header that have a meaning here.
type prefer struct {
	representation, headersOnly, count bool
	ignore, merge                      bool
}

func preferences(h http.Header) (p prefer) {
	for _, line := range h.Values("Prefer") {
		for word := range strings.SplitSeq(line, ",") {
			switch strings.TrimSpace(word) {
			case "return=representation":
				p.representation = true
			case "return=headers-only":
				p.headersOnly = true
			case "resolution=ignore-duplicates":
				p.ignore = true
			case "resolution=merge-duplicates":
				p.merge = true
			case "count=exact", "count=planned", "count=estimated":
				p.count = true
			}
		}
	}
	return p
}

func (h *restHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	role, err := h.role(r)
	if err != nil {
		writeRESTError(w, "", err)
		return
	}
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/rest/v1"), "/")
	if schema := r.Header.Get("Accept-Profile"); schema != "" && schema != "public" {
		writeRESTError(w, role, pgErrorf("PGRST106", "Invalid schema: %s", schema))
		return
	}
	switch {
	case path == "":
		writeJSON(w, http.StatusOK, []byte(`{"swagger":"2.0","info":{"title":"standard public schema"}}`))
	case strings.HasPrefix(path, "rpc/"):
		h.rpc(w, r, role, strings.TrimPrefix(path, "rpc/"))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.read(w, r, role, path)
	case r.Method == http.MethodPost || r.Method == http.MethodPatch || r.Method == http.MethodDelete:
		h.write(w, r, role, path)
	default:
		writeRESTError(w, role, pgErrorf("PGRST117", "Unsupported HTTP method: %s", r.Method))
	}
}

// errNoKey and errInvalidKey are the gateway's answers.
var (
	errNoKey      error = wireText("No API key found in request")
	errInvalidKey error = wireText("Invalid API key")
)

// role is decided by the Authorization header, or by the apikey header when that is absent, as the gateway does.
func (h *restHandler) role(r *http.Request) (string, error) {
	key := r.Header.Get("apikey")
	if key == "" {
		key = r.URL.Query().Get("apikey")
	}
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		return "", errNoKey
	}
	if _, err := h.keys.verify(key); err != nil {
		return "", errInvalidKey
	}
	if bearer == "" {
		bearer = key
	}
	c, err := h.keys.verify(bearer)
	var refused *tokenError
	switch {
	case err == nil:
		return c.role, nil
	case errors.As(err, &refused) && refused.expired:
		return "", pgErrorf("PGRST303", "JWT expired")
	}
	return "", pgErrorf("PGRST301", "JWSError JWSInvalidSignature")
}

// table finds a public table and checks the role's privilege. The database must be locked.
func (h *restHandler) table(name, role string) (*table, error) {
	t, ok := h.db.tables["public."+name]
	if !ok {
		err := pgErrorf("PGRST205", "Could not find the table 'public.%s' in the schema cache", name)
		return nil, err
	}
	if t.revoked[role] {
		return nil, pgErrorf("42501", "permission denied for table %s", name)
	}
	return t, nil
}

func (h *restHandler) read(w http.ResponseWriter, r *http.Request, role, name string) {
	q, rows, total, err := h.query(r, role, name)
	if err != nil {
		writeRESTError(w, role, err)
		return
	}
	contentRange(w, q.offset, len(rows), total, preferences(r.Header).count)
	h.respond(w, r, http.StatusOK, q, rows)
}

func (h *restHandler) query(r *http.Request, role, name string) (q *restQuery, rows []Row, total int, err error) {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	t, err := h.table(name, role)
	if err != nil {
		return nil, nil, 0, err
	}
	if q, err = parseQuery(t, r.URL.Query()); err != nil {
		return nil, nil, 0, err
	}
	now := h.db.clock()
	recs := q.matching(func(row Row) bool { return t.readable(role, row, now) })
	for _, rec := range q.window(recs, h.maxRows) {
		rows = append(rows, rec.row)
	}
	return q, rows, len(recs), nil
}

func contentRange(w http.ResponseWriter, offset, n, total int, exact bool) {
	span, of := "*", "*"
	if n > 0 {
		span = fmt.Sprintf("%d-%d", offset, offset+n-1)
	}
	if exact {
		of = strconv.Itoa(total)
	}
	w.Header().Set("Content-Range", span+"/"+of)
}

// respond sends rows, as one object where the client asks for that.
func (h *restHandler) respond(w http.ResponseWriter, r *http.Request, status int, q *restQuery, rows []Row) {
	if strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.pgrst.object") {
		if len(rows) != 1 {
			err := pgErrorf("PGRST116", "Cannot coerce the result to a single JSON object")
			err.Details = fmt.Sprintf("The result contains %d rows", len(rows))
			writeRESTError(w, "", err)
			return
		}
		writeJSON(w, status, q.appendRow(nil, rows[0]))
		return
	}
	writeJSON(w, status, q.encode(rows))
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, pgErrorf("PGRST102", "Empty or invalid json")
	}
	return body, nil
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

// writeRESTError sends an error as PostgREST or the gateway does.
func writeRESTError(w http.ResponseWriter, role string, err error) {
	var pg *Error
	switch {
	case errors.Is(err, errNoKey), errors.Is(err, errInvalidKey):
		body, _ := json.Marshal(map[string]string{
			"message": err.Error(), "hint": "Double check your Supabase `anon` or `service_role` API key.",
		})
		writeJSON(w, http.StatusUnauthorized, body)
		return
	case !errors.As(err, &pg):
		pg = pgErrorf("XX000", "internal error")
	}
	nullable := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	body, _ := json.Marshal(struct {
		Code    string `json:"code"`
		Details any    `json:"details"`
		Hint    any    `json:"hint"`
		Message string `json:"message"`
	}{pg.Code, nullable(pg.Details), nullable(pg.Hint), pg.Message})
	writeJSON(w, restStatus(pg.Code, role), body)
}

// restStatus is PostgREST's mapping of error codes.
func restStatus(code, role string) int {
	switch code {
	case "23503", "23505":
		return http.StatusConflict
	case "42883", "42P01", "PGRST202", "PGRST205":
		return http.StatusNotFound
	case "42501":
		if role == roleAnon {
			return http.StatusUnauthorized
		}
		return http.StatusForbidden
	case "PGRST301", "PGRST302", "PGRST303":
		return http.StatusUnauthorized
	case "PGRST116", "PGRST106":
		return http.StatusNotAcceptable
	case "PGRST117":
		return http.StatusMethodNotAllowed
	case "PGRST000", "PGRST001", "PGRST002":
		return http.StatusServiceUnavailable
	case "PGRST003":
		return http.StatusGatewayTimeout
	case "57014", "XX000":
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
