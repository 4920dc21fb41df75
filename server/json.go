package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// encode is json.Marshal without HTML escapes: generated text may be full of
// < > & and clients compare it. The values are our own structs, so an error is
// a bug in this package.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("server: encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func writeJSON(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(body)
}

// decodeBody decodes a request body into the struct that v points to. Unknown
// fields are accepted: clients add new ones all the time.
func decodeBody(body []byte, v any) *apiError {
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // some editors and shells write one
	if !utf8.Valid(body) {
		return badRequest("", "invalid_json", "The request body is not valid UTF-8.")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest("", "invalid_json", "The request body is empty; expected a JSON object.")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return badType("", err)
	}
	return nil
}

// integer is a JSON number without a fraction: 16, 16.0 and 1e3 are all fine,
// since some clients know only one kind of number.
type integer int64

// UnmarshalJSON implements json.Unmarshaler.
func (i *integer) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		*i = integer(n)
		return nil
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && b[0] != '"' && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		*i = integer(f)
		return nil
	}
	return &json.UnmarshalTypeError{Value: jsonKind(b), Type: reflect.TypeFor[integer]()}
}

// tokenID is a token id in a request: an integer, and not null.
type tokenID int32

// UnmarshalJSON implements json.Unmarshaler.
func (t *tokenID) UnmarshalJSON(b []byte) error {
	var i integer
	err := i.UnmarshalJSON(b)
	switch *t = tokenID(i); {
	case string(b) == "null":
		return &json.UnmarshalTypeError{Value: "null", Type: reflect.TypeFor[tokenID]()}
	case err != nil && huge(string(b)), err == nil && integer(*t) != i:
		return &idError{string(b[:min(len(b), 32)])}
	}
	return err
}

// idError is a token id that no vocabulary has.
type idError struct{ id string }

func (e *idError) Error() string { return "Token id " + e.id + " is outside of the vocabulary." }

// huge says whether a JSON number has no exact float64: too large to mean much.
func huge(n string) bool {
	f, err := strconv.ParseFloat(n, 64)
	return errors.Is(err, strconv.ErrRange) || err == nil && math.Abs(f) >= 1<<53
}

// jsonKind names the kind of a JSON value as encoding/json does in its errors.
func jsonKind(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	switch b[0] {
	case '"':
		return "string"
	case '[':
		return "array"
	case '{':
		return "object"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	}
	return "number " + string(b[:min(len(b), 32)])
}

// typeName is the English name of what a field wants.
func typeName(t reflect.Type) string {
	if t == nil {
		return "something else"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "an integer"
}

// present says whether an optional raw field was given and is not null.
func present(raw json.RawMessage) bool {
	return len(raw) > 0 && string(raw) != "null"
}

// number is a float32 that JSON can carry: log-probabilities of impossible
// tokens are minus infinity, which OpenAI writes as -9999.
type number float32

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	if math.IsNaN(f) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, max(-9999, min(9999, f)), 'g', -1, 32), nil
}
