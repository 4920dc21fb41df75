// Package archtest holds tests about the whole tree: which package may import
// which, where unsafe code may be, what is documented, how long a file is,
// whether the links of documents lead somewhere. It has no code of its own.
//
// The import rule in one line: bytes flow up, imports point down. What computes
// does not know where bytes come from, what stores bytes does not know what
// they mean, and only internal/engine sees both sides. The policy in
// policy_test.go is the rule in full; docs/ARCHITECTURE.md explains it.
package archtest
