//go:build !linux

package sched

import "runtime"

// yield lets another goroutine have the processor.
func yield() { runtime.Gosched() }
