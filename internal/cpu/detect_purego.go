//go:build purego

package cpu

func detect() Tier { return Generic }
