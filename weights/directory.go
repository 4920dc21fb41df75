package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// directory is the decoded directory. Names are substrings of one string and
// spans subslices of one array, so that a large model costs few allocations.
type directory struct {
	sections []Section
	units    []Unit
	tensors  []Tensor
	order    []entry // sections and units as they lie in the file
	byName   []int32 // indices of tensors, sorted by name
}

// entry is a section or a unit.
type entry struct {
	kind  byte
	index int
}

// encode returns the directory's bytes.
func (d *directory) encode() []byte {
	le := binary.LittleEndian
	spans := 0
	for i := range d.tensors {
		spans += len(d.tensors[i].Spans)
	}
	var p []byte
	for _, n := range []int{len(d.order), len(d.tensors), spans, 0} {
		p = le.AppendUint32(p, uint32(n))
	}
	name := func(s string) { p = append(append(p, byte(len(s))), s...) }
	span := func(s Span) { p = le.AppendUint32(le.AppendUint32(p, uint32(s.Len)), s.CRC) }
	for _, e := range d.order {
		p = append(p, e.kind)
		if e.kind == kindSection {
			s := d.sections[e.index]
			name(s.Name)
			span(s.Span)
			continue
		}
		u := d.units[e.index]
		name(u.Name)
		p = le.AppendUint32(p, uint32(u.Count))
		for _, t := range d.tensors[u.First : u.First+u.Count] {
			name(t.Name)
			name(t.Role)
			name(t.Codec)
			p = le.AppendUint32(p, uint32(t.Rows))
			p = le.AppendUint32(p, uint32(t.Cols))
			p = le.AppendUint64(p, uint64(t.Weights))
			p = le.AppendUint32(p, uint32(len(t.Spans)))
			for _, s := range t.Spans {
				span(s)
			}
		}
	}
	return p
}

// cursor reads the directory's fields one by one. After the first field that
// does not fit, short is set and all fields read as zero.
type cursor struct {
	s     string
	short bool
}

func (c *cursor) take(n int) string {
	if n > len(c.s) {
		c.s, c.short = "", true
		return ""
	}
	field := c.s[:n]
	c.s = c.s[n:]
	return field
}

// uint reads a little-endian integer of n bytes.
func (c *cursor) uint(n int) uint64 {
	var v uint64
	for i, b := range []byte(c.take(n)) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (c *cursor) name() string { return c.take(int(c.uint(1))) }

// parseDirectory decodes a directory whose checksum matches and lays its
// entries out; they must end where the directory, at dirOff, begins. What it
// allocates is at most about eight times len(p).
func parseDirectory(p []byte, dirOff int64) (*directory, error) {
	corrupt := func(format string, a ...any) (*directory, error) {
		return nil, fmt.Errorf("directory: %w: %s", ErrCorrupt, fmt.Sprintf(format, a...))
	}
	c := &cursor{s: string(p)}
	entries, tensors, spans, reserved := c.uint(4), c.uint(4), c.uint(4), c.uint(4)
	if entries*minEntry+tensors*minTensor+spans*minSpan > uint64(len(c.s)) || reserved != 0 {
		return corrupt("%d entries, %d tensors and %d spans in %d bytes", entries, tensors, spans, len(p))
	}
	d := &directory{
		tensors: make([]Tensor, 0, tensors),
		order:   make([]entry, 0, entries),
	}
	all := make([]Span, 0, spans)
	pos := int64(UnitAlign)
	place := func() (Span, error) {
		n, crc := c.uint(4), uint32(c.uint(4))
		if n > MaxSpan {
			return Span{}, fmt.Errorf("directory: %w: span of %d bytes", ErrCorrupt, n)
		}
		s := Span{Off: align(pos, SpanAlign), Len: int(n), CRC: crc}
		pos = s.End()
		return s, nil
	}
	for range entries {
		kind, name := byte(c.uint(1)), c.name()
		switch {
		case c.short:
			return corrupt("it ends within an entry")
		case !validName(name):
			return corrupt("entry name %q", name)
		case kind == kindSection:
			s, err := place()
			if err != nil {
				return nil, err
			}
			d.order = append(d.order, entry{kind, len(d.sections)})
			d.sections = append(d.sections, Section{name, s})
			continue
		case kind != kindUnit:
			return corrupt("entry %s is of unknown kind %d", name, kind)
		}
		pos = align(pos, UnitAlign)
		u := Unit{Name: name, First: len(d.tensors), Off: pos}
		count := c.uint(4)
		if count < 1 || count > tensors-uint64(len(d.tensors)) {
			return corrupt("unit %s has %d tensors", name, count)
		}
		u.Count = int(count)
		for range count {
			t := Tensor{Unit: len(d.units)}
			t.Name, t.Role, t.Codec = c.name(), c.name(), c.name()
			rows, cols, weights := c.uint(4), c.uint(4), c.uint(8)
			n := c.uint(4)
			if rows > MaxDim || cols > MaxDim || weights > rows*cols {
				return corrupt("tensor %q: %d x %d with %d weights", t.Name, rows, cols, weights)
			}
			t.Rows, t.Cols, t.Weights = int(rows), int(cols), int64(weights)
			if bad := t.check(); bad != "" {
				return corrupt("tensor %q: %s", t.Name, bad)
			}
			if n < 1 || n > spans-uint64(len(all)) {
				return corrupt("tensor %s has %d spans", t.Name, n)
			}
			first := len(all)
			for range n {
				s, err := place()
				if err != nil {
					return nil, err
				}
				all = append(all, s)
			}
			t.Spans = all[first:len(all):len(all)]
			d.tensors = append(d.tensors, t)
		}
		u.Len = pos - u.Off
		d.order = append(d.order, entry{kind, len(d.units)})
		d.units = append(d.units, u)
	}
	switch {
	case c.short:
		return corrupt("it ends within an entry")
	case len(c.s) != 0 || uint64(len(d.tensors)) != tensors || uint64(len(all)) != spans:
		return corrupt("its counts do not match its entries")
	case align(pos, SpanAlign) != dirOff:
		return corrupt("entries end at offset %d, the directory starts at %d", pos, dirOff)
	}
	return d, d.index()
}

// index fills byName and reports names used twice.
func (d *directory) index() error {
	d.byName = make([]int32, len(d.tensors))
	for i := range d.byName {
		d.byName[i] = int32(i)
	}
	name := func(i int32) string { return d.tensors[i].Name }
	slices.SortFunc(d.byName, func(a, b int32) int { return cmp.Compare(name(a), name(b)) })
	for i := 1; i < len(d.byName); i++ {
		if name(d.byName[i-1]) == name(d.byName[i]) {
			return fmt.Errorf("directory: %w: two tensors named %s", ErrCorrupt, name(d.byName[i]))
		}
	}
	names := make([]string, 0, len(d.order))
	for _, e := range d.order {
		if e.kind == kindSection {
			names = append(names, "section "+d.sections[e.index].Name)
		} else {
			names = append(names, "unit "+d.units[e.index].Name)
		}
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i-1] == names[i] {
			return fmt.Errorf("directory: %w: two entries named %s", ErrCorrupt, names[i])
		}
	}
	return nil
}

// tensor returns the index of the tensor of that name.
func (d *directory) tensor(name string) (int, bool) {
	i, ok := slices.BinarySearchFunc(d.byName, name, func(i int32, name string) int {
		return cmp.Compare(d.tensors[i].Name, name)
	})
	if !ok {
		return 0, false
	}
	return int(d.byName[i]), true
}
