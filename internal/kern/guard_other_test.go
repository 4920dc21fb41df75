//go:build !linux

package kern

import "testing"

// guarded returns plain memory where the system has no pages to guard it with.
func guarded[T any](t testing.TB, n int, atEnd bool) []T {
	return make([]T, n)
}
