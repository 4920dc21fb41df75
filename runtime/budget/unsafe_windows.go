package budget

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32             = windows.NewLazySystemDLL("kernel32.dll")
	globalMemoryStatusEx = kernel32.NewProc("GlobalMemoryStatusEx")
	getProcessMemoryInfo = kernel32.NewProc("K32GetProcessMemoryInfo")
)

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load                                             uint32
	totalPhys, availPhys, totalPage, availPage               uint64
	totalVirtual, availVirtual, availExtendedVirtualReserved uint64
}

func observe() []bound {
	m := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
	if ok, _, _ := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&m))); ok == 0 || m.availPhys >= unlimited {
		return nil
	}
	return []bound{{int64(m.availPhys), "physical memory available"}}
}

// processMemory is PROCESS_MEMORY_COUNTERS.
type processMemory struct {
	size, pageFaults                                 uint32
	peakWorkingSet, workingSet                       uintptr
	peakPagedPool, pagedPool, peakNonPaged, nonPaged uintptr
	pagefile, peakPagefile                           uintptr
}

func ownMemory() (m processMemory) {
	m.size = uint32(unsafe.Sizeof(m))
	if ok, _, _ := getProcessMemoryInfo.Call(uintptr(windows.CurrentProcess()), uintptr(unsafe.Pointer(&m)), uintptr(m.size)); ok == 0 {
		return processMemory{}
	}
	return m
}

// RSS returns the bytes of physical memory that the process occupies now (its
// working set), or 0 if the system does not tell.
func RSS() int64 { return int64(ownMemory().workingSet) }

// PeakRSS returns the most bytes of physical memory that the process ever
// occupied, or 0 if the system does not tell.
func PeakRSS() int64 { return int64(ownMemory().peakWorkingSet) }
