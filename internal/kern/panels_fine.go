//go:build purego || !amd64

package kern

// No number is in bfloat16 here, and nothing packs but Go.

func hasCoarse() bool { return false }

func packRows([]float32, []float32, int, int, int, bool) int { return 0 }
func joinRows([]float32, []float32, int, int, int)           {}
func roundRow([]float32, []float32)                          {}
