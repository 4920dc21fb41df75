//go:build !linux

package rans

import "testing"

// guarded returns n elements, zero; only Linux puts a faulting page behind them.
func guarded[T any](_ testing.TB, n int) []T { return make([]T, n) }
