//go:build purego || !(amd64 || arm64)

package kern

func expLanes() int { return 1 }

func expVectors(dst, x []float32, shift float32) float32 { return expIntoGeneric(dst, x, shift) }

func swiGLUVectors(dst, gate, up []float32) { swiGLUGeneric(dst, gate, up) }
