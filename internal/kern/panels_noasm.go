//go:build purego || !amd64

package kern

// Nothing multiplies panels here: Panels and Vectors hold what they are given.

func hasPanels() bool { return false }
func hasCoarse() bool { return false }

func packRows([]float32, []float32, int, int, int, bool) int { return 0 }
func joinRows([]float32, []float32, int, int, int)           {}
func roundRow([]float32, []float32)                          {}

func matMulPanel([]float32, int, []float32, *Vectors, int, int, int, int, int, bool) {}
