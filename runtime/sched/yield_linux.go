package sched

import "syscall"

// yield lets another thread have the processor if one waits for it. The scheduler
// of Go is not asked: with more processors than workers, as servers have them, it
// would wake another thread of the process for every goroutine that yields, which
// then takes a processor from a worker to find nothing to do. Nor is it told of
// the call, which is as short, or as long, as being preempted.
func yield() { _, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) } // cannot fail
