package functions

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
)

// ErrInvalidArgument says that a request was refused before it was made.
var ErrInvalidArgument = errors.New("invalid argument")

// Codes of an Error.
const (
	CodeNetwork      = "network"        // no answer, or a broken one
	CodeTimeout      = "timeout"        // Options.Timeout or the context's deadline passed
	CodeCanceled     = "canceled"       // the context was cancelled
	CodeBodyTooLarge = "body_too_large" // more bytes than Options.MaxBody
	CodeRedirect     = "redirect"       // redirects are not followed: the URL is not the API's
)

// Error is a call without an answer that could be passed on. The function may have acted all the same.
type Error struct {
	Function string
	Status   int    // 0 without an answer
	Code     string // one of the Code constants

	cause error
}

// Error names function, status, code and the kind of failure; it holds no URL and nothing that was sent or received.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("call function " + e.Function + ":")
	if e.Status != 0 {
		b.WriteString(" status " + strconv.Itoa(e.Status))
	}
	b.WriteString(" code " + e.Code)
	if op, ok := errors.AsType[*net.OpError](e.cause); ok && e.Code == CodeNetwork {
		b.WriteString(": " + op.Op + " " + op.Net + ": " + op.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause of a failure without an answer, so that errors.Is finds context errors.
func (e *Error) Unwrap() error { return e.cause }

// Unavailable tells whether err means that no whole answer came back.
func Unavailable(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

func transportError(function string, status int, err error) *Error {
	code := CodeNetwork
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		code = CodeCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		code = CodeTimeout
	}
	return &Error{Function: function, Status: status, Code: code, cause: err}
}
