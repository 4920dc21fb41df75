package budget

import "os"

func observe() []bound { return linuxBounds(os.DirFS("/")) }

// RSS returns the bytes of physical memory that the process occupies now
// (VmRSS), or 0 if the system does not tell.
func RSS() int64 { return ownStatus("VmRSS") }

// PeakRSS returns the most bytes of physical memory that the process ever
// occupied (VmHWM), or 0 if the system does not tell.
func PeakRSS() int64 { return ownStatus("VmHWM") }

func ownStatus(key string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	n, _ := statusField(text, key)
	return n
}
