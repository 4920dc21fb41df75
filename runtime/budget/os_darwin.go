package budget

import "golang.org/x/sys/unix"

// observe knows the installed memory only; a quarter is left to the system
// and to the programs that run already.
func observe() []bound {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil || n == 0 || n >= unlimited {
		return nil
	}
	return []bound{{int64(n / 4 * 3), "three quarters of the machine's memory"}}
}
