package weights

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// What can be wrong with a file, in the order in which a reader checks. Every
// error of this package about a file's content wraps one of them.
var (
	// ErrMagic: not a .lamina file.
	ErrMagic = errors.New("not a .lamina file")
	// ErrVersion: a format version that this program does not read.
	ErrVersion = errors.New("unsupported format version")
	// ErrChecksum: bytes that do not match their CRC-32C.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrTruncated: the file is shorter than it says.
	ErrTruncated = errors.New("truncated file")
	// ErrCorrupt: checksums match but the structure makes no sense.
	ErrCorrupt = errors.New("corrupt file")
)

// ErrChanged marks a file that was modified or replaced after it was opened.
var ErrChanged = errors.New("file changed while in use")

// Error says what failed, where, and what to do about it.
type Error struct {
	Op     string // "open", "read", "verify", "create", "write" or "commit"
	Path   string // the file
	Tensor string // tensor, unit or section concerned, if known
	Off    int64  // offset in the file; negative if it has no meaning here
	Err    error  // the cause; wraps a sentinel or a system error
	Hint   string // what the user can do; may be empty
}

// Error returns "weights: OP PATH: TENSOR at offset N: cause (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("weights: " + e.Op + " " + e.Path + ": ")
	if e.Tensor != "" {
		b.WriteString(e.Tensor)
		if e.Off < 0 {
			b.WriteString(": ")
		} else {
			b.WriteByte(' ')
		}
	}
	if e.Off >= 0 {
		b.WriteString("at offset " + strconv.FormatInt(e.Off, 10) + ": ")
	}
	b.WriteString(e.Err.Error())
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// hint says what to do about err, or "".
func hint(err error) string {
	switch {
	case errors.Is(err, ErrVersion):
		return "it was written by a newer lamina, or its first bytes are damaged: update lamina or pack the model again"
	case errors.Is(err, ErrChecksum), errors.Is(err, ErrCorrupt):
		return "the file is damaged: copy, pull or pack it again"
	case errors.Is(err, ErrTruncated):
		return "the copy or download was cut short: repeat it"
	case errors.Is(err, ErrChanged):
		return "restart to use the new file; replace a model with rename, never in place"
	case errors.Is(err, syscall.ENOSPC):
		return "no space left: free some or write elsewhere"
	case errors.Is(err, fs.ErrPermission):
		return "check the permissions of the file and its folder"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path"
	}
	return ""
}

// foreign names the format that a file without our magic seems to have.
func foreign(head []byte) string {
	s := string(head)
	switch {
	case strings.HasPrefix(s, "GGUF"):
		return "this is a GGUF file: convert it with 'lamina pack'"
	case len(s) > 8 && s[8] == '{':
		return "this looks like a safetensors file: give its folder to 'lamina pack'"
	case strings.HasPrefix(s, "version https://git-lfs"):
		return "this is a Git LFS pointer, not the file itself: fetch it with 'git lfs pull'"
	case strings.HasPrefix(s, "<"):
		return "this is a web page, not a model: check the address it was downloaded from"
	case strings.HasPrefix(s, "PK\x03\x04"):
		return "this is a zip archive (a PyTorch checkpoint?): safetensors or GGUF are needed by 'lamina pack'"
	}
	return "give a file made by 'lamina pack'"
}
