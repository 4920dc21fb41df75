//go:build !linux && !darwin

package weights

import "os"

// dropCache has no portable counterpart outside Linux.
func dropCache(*os.File, int64, int64) {}

// openDirect has none either.
func openDirect(*os.File) *os.File { return nil }

// readRandomly has none either.
func readRandomly(*os.File) {}
