//go:build linux || darwin

package hub

import "golang.org/x/sys/unix"

// diskFree returns the bytes that may be written to the file system of dir; ok
// is false where that cannot be told.
func diskFree(dir string) (n int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
