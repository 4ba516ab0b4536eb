package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// bodyTimeout is how long a request's body may take to come in.
const bodyTimeout = 10 * time.Second

// fields are the values of a JSON object by exact name. Of a repeated name the last counts, and only that one goes anywhere.
type fields map[string]json.RawMessage

// text returns a string; what is absent or null is "". It is not ok when the value is of another type.
func (f fields) text(name string) (text string, ok bool) {
	raw, there := f[name]
	if !there {
		return "", true
	}
	ok = json.Unmarshal(raw, &text) == nil
	return text, ok
}

// parseFields reads a JSON object.
func parseFields(body []byte) (f fields, ok bool) {
	ok = utf8.Valid(body) && json.Unmarshal(body, &f) == nil && f != nil
	return f, ok
}

// readFields reads a request's body. An empty one is no fault where optional says so.
func (s *Server) readFields(w http.ResponseWriter, r *http.Request, optional bool) (fields, *chat.Refusal) {
	body, ref := s.readBody(w, r)
	if ref == nil {
		ref = checkEncoding(r.Header)
	}
	if ref != nil {
		return nil, ref
	}
	if optional && len(bytes.TrimSpace(body)) == 0 {
		return fields{}, nil
	}
	f, ok := parseFields(body)
	if !ok {
		return nil, refuseBody("The request body must be a JSON object")
	}
	return f, nil
}

func refuseBody(message string) *chat.Refusal {
	return refuseRequest(http.StatusBadRequest, "bad_request", message)
}

// checkEncoding refuses what is not plain JSON. A missing type is taken for it.
func checkEncoding(h http.Header) *chat.Refusal {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return refuseRequest(http.StatusUnsupportedMediaType, "unsupported_encoding", "Content-Encoding is not supported")
	}
	given := h.Get("Content-Type")
	if given == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return refuseRequest(http.StatusUnsupportedMediaType, "unsupported_media_type", "Content-Type must be application/json")
	}
	return nil
}

// readBody reads a bounded body within a bounded time. After a failure the deadline stays: the HTTP server reads what is left of the
// body before it answers.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *chat.Refusal) {
	conn := http.NewResponseController(w)
	// Writers without deadlines (HTTP/2 has its own, recorders none) are left as they are.
	_ = conn.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.opts.BodyBytes)))
	if err == nil {
		_ = conn.SetReadDeadline(time.Time{})
		return body, nil
	}
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		s.metrics.limits.WithLabelValues(limitBody).Inc()
		return nil, refuseRequest(http.StatusRequestEntityTooLarge, "body_too_large", "The request body is too large")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, refuseRequest(http.StatusRequestTimeout, "body_timeout", "The request body took too long")
	}
	return nil, refuseBody("The request body could not be read")
}

// encode writes JSON as the functions do, without escapes for HTML. v holds nothing that cannot be encoded.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("transport: unencodable answer: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// answer writes a whole JSON answer with a deadline, which stays: the next request on the connection sets its own. An error of the write means that the visitor is gone: there is nobody to tell.
func (s *Server) answer(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	s.boundWrite(w)
	w.WriteHeader(status)
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
}

// boundWrite bounds the writing of an answer; writers without deadlines are left as they are.
func (s *Server) boundWrite(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
}
