package hub

import "golang.org/x/sys/windows"

// diskFree returns the bytes that may be written to the file system of dir; ok
// is false where that cannot be told.
func diskFree(dir string) (n int64, ok bool) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(min(free, 1<<62)), true
}
