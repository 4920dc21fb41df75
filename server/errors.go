package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lamina-llm/lamina/model"
)

// Why a request's context ended, as its cause; model.ErrClosed is the third.
var (
	errGone    = errors.New("server: client went away")
	errTimeout = errors.New("server: request timed out")
)

// statusGone is the customary status, in logs and metrics alone, of a request
// whose client did not wait.
const statusGone = 499

// Error types of the OpenAI API.
const (
	typeInvalid     = "invalid_request_error"
	typeRateLimit   = "rate_limit_error"
	typeUnavailable = "service_unavailable_error"
	typeServer      = "server_error"
)

// apiError is an error in OpenAI's shape with its HTTP status.
type apiError struct {
	status  int
	retry   int  // Retry-After in seconds; 0 is none
	noRetry bool // tell clients that trying again is pointless

	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *apiError) Error() string { return e.Message }

// body is the JSON document of the error.
func (e *apiError) body() []byte {
	return encode(struct {
		Error *apiError `json:"error"`
	}{e})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// badRequest is a 400 about one field; param and code may be empty.
func badRequest(param, code, format string, args ...any) *apiError {
	return &apiError{
		status: fasthttp.StatusBadRequest, Type: typeInvalid,
		Message: fmt.Sprintf(format, args...), Param: optional(param), Code: optional(code),
	}
}

// newError is an error about the request as a whole.
func newError(status int, typ, code, format string, args ...any) *apiError {
	return &apiError{status: status, Type: typ, Code: optional(code), Message: fmt.Sprintf(format, args...)}
}

// toAPI maps any error of a generation to what the client is told. Errors that
// are not the client's business keep their text to the log.
func toAPI(err error) *apiError {
	var api *apiError
	switch {
	case errors.As(err, &api):
		return api
	case errors.Is(err, model.ErrContextLength):
		return badRequest("", "context_length_exceeded", "%s", err)
	case errors.Is(err, model.ErrInvalid):
		return badRequest("", "", "%s", err)
	case errors.Is(err, model.ErrBusy):
		e := newError(fasthttp.StatusTooManyRequests, typeRateLimit, "server_busy", "The server is busy: its queue is full. Try again later.")
		e.retry = 1
		return e
	case errors.Is(err, model.ErrMemory):
		// It would not fit alone either, so clients are told not to insist;
		// Retry-After is for proxies that may have another server.
		e := newError(fasthttp.StatusServiceUnavailable, typeUnavailable, "memory_budget_exceeded",
			"The request does not fit the server's memory budget. Ask for fewer tokens or start the server with more memory.")
		e.retry, e.noRetry = 5, true
		return e
	case errors.Is(err, model.ErrClosed):
		e := newError(fasthttp.StatusServiceUnavailable, typeUnavailable, "shutting_down", "The server is shutting down.")
		e.retry = 5
		return e
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		return tooLate()
	case errors.Is(err, errGone), errors.Is(err, context.Canceled):
		return newError(statusGone, typeServer, "cancelled", "The client went away.")
	}
	return newError(fasthttp.StatusInternalServerError, typeServer, "internal_error", "The server failed to answer this request.")
}

// fail writes e as the response.
func fail(ctx *fasthttp.RequestCtx, e *apiError) {
	h := &ctx.Response.Header
	if e.retry > 0 {
		h.Set(fasthttp.HeaderRetryAfter, fmt.Sprint(e.retry))
	}
	if e.noRetry {
		h.Set("x-should-retry", "false")
	}
	if e.status == statusGone {
		ctx.SetConnectionClose()
	}
	writeJSON(ctx, e.status, e.body())
}

// badType turns encoding/json's complaint into a sentence that names the field.
// prefix is the path of the value that was decoded, empty for the whole body.
func badType(prefix string, err error) *apiError {
	var te *json.UnmarshalTypeError
	var id *idError
	switch {
	case errors.As(err, &id):
		return badRequest(prefix, "invalid_value", "%s", err)
	case !errors.As(err, &te):
		return badRequest(prefix, "invalid_json", "The request body is not valid JSON: %s", err)
	}
	field := prefix
	if name := strings.TrimPrefix(strings.TrimPrefix(te.Field, "chatRequest."), "common."); name != "" { // embedded structs
		field = strings.TrimPrefix(prefix+"."+name, ".")
	}
	got := te.Value
	switch {
	case got == "bool":
		got = "boolean"
	case strings.HasPrefix(got, "number "):
		n := strings.TrimPrefix(got, "number ")
		if field != "" && huge(n) {
			return badRequest(field, "invalid_value", "Invalid '%s': %s is out of range.", field, n)
		}
		got = "number (" + n + ")"
	}
	if field == "" {
		return badRequest("", "invalid_type", "Invalid type for the request body: expected an object, but got: %s.", got)
	}
	return badRequest(field, "invalid_type", "Invalid type for '%s': expected %s, but got: %s.", field, typeName(te.Type), got)
}

// protocolError answers a request that fasthttp itself refused.
func (s *Server) protocolError(ctx *fasthttp.RequestCtx, err error) {
	s.identify(ctx)
	var small *fasthttp.ErrSmallBuffer
	var ne net.Error
	var e *apiError
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		drain(ctx.Conn())
		e = newError(fasthttp.StatusRequestEntityTooLarge, typeInvalid, "request_too_large",
			"The request body is larger than %d bytes.", s.o.MaxBody)
	case errors.As(err, &small):
		drain(ctx.Conn())
		e = newError(fasthttp.StatusRequestHeaderFieldsTooLarge, typeInvalid, "headers_too_large", "The request headers are too large.")
	case errors.As(err, &ne) && ne.Timeout():
		e = newError(fasthttp.StatusRequestTimeout, typeInvalid, "read_timeout", "The request did not arrive in time.")
	default:
		e = newError(fasthttp.StatusBadRequest, typeInvalid, "bad_http", "The request is not valid HTTP.")
	}
	fail(ctx, e)
	s.m.requests.inc("none", e.status)
}

// drain reads what a client is still sending, within limits: closing a socket
// with unread input resets it, and the client would lose the answer.
func drain(c net.Conn) {
	buf := make([]byte, 16<<10)
	until := time.Now().Add(2 * time.Second)
	for left := 16 << 20; left > 0; {
		deadline := time.Now().Add(250 * time.Millisecond)
		if deadline.After(until) || c.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}
