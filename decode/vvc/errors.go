package vvc

import (
	"errors"
	"fmt"
)

// Errors returned by decoding, to be matched with errors.Is. The returned error adds what was wrong.
var (
	// ErrInvalid reports a stream that violates the syntax or a constraint of H.266.
	ErrInvalid = errors.New("vvc: invalid bitstream")
	// ErrUnsupported reports a valid feature that this package does not decode; the message names it.
	ErrUnsupported = errors.New("vvc: unsupported feature")
	// ErrLimit reports a stream that exceeds a limit set in Options.
	ErrLimit = errors.New("vvc: limit exceeded")
	// ErrHash reports a decoded picture that differs from the hash in its SEI message.
	ErrHash = errors.New("vvc: picture hash mismatch")
)

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func unsupported(feature string) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, feature)
}
