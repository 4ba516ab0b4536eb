package rest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxErrorBody is the most bytes that are read of an error answer.
const maxErrorBody = 64 << 10

// call travels in the context of a request and brings back what the library would lose. The round tripper runs in the
// caller's goroutine, so it needs no lock.
type call struct {
	op     string
	prefer string

	sent         time.Time
	status       int
	contentRange string
	body         []byte
	err          error
}

type callKey struct{}

// total is the exact count of the matching rows, when the answer carries one.
func (a *call) total() (int, bool) {
	_, total, ok := strings.Cut(a.contentRange, "/")
	n, err := strconv.Atoi(total)
	return n, ok && err == nil && n >= 0
}

// roundTripper stands below postgrest-go and reads the whole answer itself. What it hands up is only as much as the
// library needs to return without error or panic.
type roundTripper struct {
	next    http.RoundTripper
	maxBody int64
	clock   *clock
}

// RoundTrip implements http.RoundTripper.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, ok := req.Context().Value(callKey{}).(*call)
	if !ok {
		return nil, errors.New("request outside a call")
	}
	out := req.Clone(req.Context())
	if answer.prefer != "" {
		out.Header.Set("Prefer", answer.prefer)
	}
	// Every call is safe to repeat. An empty value is not sent; it lets net/http repeat a write on a fresh connection
	// when the server had closed the idle one.
	out.Header["Idempotency-Key"] = []string{}

	answer.sent = time.Now()
	resp, err := rt.next.RoundTrip(out)
	if err != nil {
		answer.err = transportError(answer.op, err)
		return nil, answer.err
	}
	defer resp.Body.Close()
	received := time.Now()
	answer.status = resp.StatusCode
	answer.contentRange = resp.Header.Get("Content-Range")
	rt.observe(answer.sent, received, resp)
	rt.readBody(answer, resp, received)
	return standIn(req, answer), nil
}

// observe learns from the answers of the server, not from those of a gateway in its place or of a cache.
func (rt *roundTripper) observe(sent, received time.Time, resp *http.Response) {
	if resp.StatusCode >= 500 || resp.Header.Get("Age") != "" {
		return
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		rt.clock.observe(sent, received, date)
	}
}

func (rt *roundTripper) readBody(answer *call, resp *http.Response, received time.Time) {
	if resp.StatusCode >= 300 {
		body, _ := readLimited(resp, maxErrorBody) // the status says enough when the body breaks off
		answer.err = answerError(answer.op, resp, body, received)
		return
	}
	body, err := readLimited(resp, rt.maxBody)
	switch {
	case err != nil:
		answer.err = transportError(answer.op, err)
	case int64(len(body)) > rt.maxBody:
		answer.err = &Error{Op: answer.op, Status: resp.StatusCode, Code: CodeBodyTooLarge}
	default:
		answer.body = body
	}
}

// readLimited reads at most limit bytes and one more, which tells that there are more.
func readLimited(resp *http.Response, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= limit {
		b.Grow(int(n) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(resp.Body, limit+1))
	return b.Bytes(), err
}

// standIn is the answer that the library sees: an empty success, or an error that it can decode. A redirect becomes an
// error too, for http.Client would follow it and the library would send the key along.
func standIn(req *http.Request, answer *call) *http.Response {
	status, body := http.StatusOK, io.ReadCloser(http.NoBody)
	if answer.err != nil {
		status, body = http.StatusBadGateway, io.NopCloser(strings.NewReader("{}"))
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body, Request: req,
	}
}
