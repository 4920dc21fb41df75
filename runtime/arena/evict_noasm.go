//go:build purego || !amd64

package arena

// Evict does nothing here; see evict_amd64.go.
func Evict([]byte) {}
