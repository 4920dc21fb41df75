//go:build !invariants

package arena

const invariants = false
