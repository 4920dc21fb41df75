package budget

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// unlimited is the least value that counts as no limit: version 1 writes the
// largest page-aligned int64 for none.
const unlimited = 1 << 60

// linuxBounds reads the limits from a file system laid out as a Linux root:
// /proc/self/cgroup and /proc/self/mountinfo lead to the memory controllers
// (cgroups(7)), /proc/meminfo tells what the machine can give (proc(5)).
func linuxBounds(fsys fs.FS) []bound {
	bounds := cgroupBounds(fsys)
	info, _ := fs.ReadFile(fsys, "proc/meminfo")
	for _, key := range []string{"MemAvailable", "MemTotal"} {
		if n, ok := statusField(info, key); ok {
			return append(bounds, bound{n, key + " of the machine"})
		}
	}
	return bounds
}

// cgroupBounds returns at most one bound per hierarchy: the tightest on the
// way from the process's own group up to the mount point.
func cgroupBounds(fsys fs.FS) []bound {
	groups, _ := fs.ReadFile(fsys, "proc/self/cgroup")
	mounts, _ := fs.ReadFile(fsys, "proc/self/mountinfo")
	var bounds []bound
	for line := range strings.Lines(string(groups)) {
		// hierarchy-ID:controller-list:cgroup-path
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var files []string
		v2 := parts[0] == "0" && parts[1] == ""
		switch {
		case v2:
			files = []string{"memory.max", "memory.high"}
		case hasItem(parts[1], "memory"):
			files = []string{"memory.limit_in_bytes"}
		default:
			continue
		}
		point, root, ok := findMount(mounts, v2)
		if !ok {
			continue
		}
		if b, ok := walkUp(fsys, point, relativeTo(root, parts[2]), files); ok {
			bounds = append(bounds, b)
		}
	}
	return bounds
}

// walkUp reads the files in dir below point and in every parent up to point.
func walkUp(fsys fs.FS, point, dir string, files []string) (low bound, ok bool) {
	for {
		for _, name := range files {
			file := path.Join(point, dir, name)
			text, err := fs.ReadFile(fsys, strings.TrimPrefix(file, "/"))
			if err != nil {
				continue // the root group has none, and a parent may be hidden
			}
			n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64) // "max" fails
			if err == nil && n > 0 && n < unlimited && (!ok || n < low.bytes) {
				low, ok = bound{n, file}, true
			}
		}
		if dir == "/" {
			return low, ok
		}
		dir = path.Dir(dir)
	}
}

// relativeTo turns a cgroup path into one below a mount whose root is root. In
// a container without its own cgroup namespace the two share a prefix; a path
// outside the mount ("/../x", or another subtree) leaves the mount point, which
// is then all that the process can see of its limits.
func relativeTo(root, group string) string {
	group = path.Clean("/" + group)
	if root == "/" {
		return group
	}
	if rest, ok := strings.CutPrefix(group, root); ok && (rest == "" || rest[0] == '/') {
		return path.Clean("/" + rest)
	}
	return "/"
}

// findMount returns mount point and root of the memory hierarchy. The fields
// of a line: ID parent major:minor root point options [optional...] - type
// source super-options.
func findMount(mounts []byte, v2 bool) (point, root string, ok bool) {
	for sc := bufio.NewScanner(bytes.NewReader(mounts)); sc.Scan(); {
		left, right, found := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !found || len(l) < 5 || len(r) < 3 {
			continue
		}
		if v2 && r[0] == "cgroup2" || !v2 && r[0] == "cgroup" && hasItem(r[2], "memory") {
			return unescape(l[4]), unescape(l[3]), true
		}
	}
	return "", "", false
}

// unescape undoes the octal escapes of mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

func hasItem(list, item string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if s == item {
			return true
		}
	}
	return false
}

// statusField reads "Key:   123 kB" and returns bytes.
func statusField(text []byte, key string) (int64, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key+":"))
		if !ok {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) != 2 || string(f[1]) != "kB" {
			return 0, false
		}
		n, err := strconv.ParseInt(string(f[0]), 10, 64)
		return n << 10, err == nil && n >= 0 && n < unlimited>>10
	}
	return 0, false
}
