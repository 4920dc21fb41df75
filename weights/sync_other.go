//go:build !unix

package weights

// syncDir does nothing: folders cannot be synced here.
func syncDir(string) error { return nil }
