package chat

import (
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// strftimeLayouts maps the directives of C's strftime to Go's layouts.
var strftimeLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'Z': "MST", 'z': "-0700", 'j': "002", 'f': "000000",
	'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

// strftime is the strftime_now of templates, in the C locale.
func (g *guard) strftime(format *exec.Value) *exec.Value {
	f := format.String()
	var sb strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' || i+1 == len(f) {
			sb.WriteByte(f[i])
			continue
		}
		i++
		switch c := f[i]; {
		case c == '%':
			sb.WriteByte('%')
		case c == 'f':
			fmt.Fprintf(&sb, "%06d", g.now.Nanosecond()/1000)
		case c == '-' && i+1 < len(f) && strftimeLayouts[f[i+1]] != "": // without padding
			i++
			sb.WriteString(unpad(g.now.Format(strftimeLayouts[f[i]])))
		case strftimeLayouts[c] != "":
			sb.WriteString(g.now.Format(strftimeLayouts[c]))
		default:
			sb.WriteString(f[i-1 : i+1])
		}
	}
	return exec.AsValue(sb.String())
}

func unpad(s string) string {
	t := strings.TrimLeft(s, " 0")
	if t == "" {
		return "0"
	}
	return t
}
