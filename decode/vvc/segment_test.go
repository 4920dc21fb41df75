package vvc

import (
	"bytes"
	"errors"
	"testing"
)

// TestSegments decodes streams as a whole and cut into segments, backwards and with a decoder each: the pictures must be
// the same, and a stream of independent pictures must fall into as many parts.
func TestSegments(t *testing.T) {
	collect := func(stream []byte) (pictures [][]byte) {
		err := Decode(stream, Options{}, func(f *Frame) error {
			pictures = append(pictures, f.AppendPlanar(nil))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return pictures
	}
	one, two := readStream(t, "s1"), readStream(t, "s6")
	streams := map[string][]byte{"s1": one, "s1 twice": append(bytes.Clone(one), one...), "s1 and s6": append(bytes.Clone(one), two...)}
	for _, v := range loadVectors(t, "testdata") {
		streams[v.Name] = readStream(t, v.Name)
	}
	for _, name := range []string{"random", "partitions"} {
		streams[name] = readStream(t, name)
	}
	cut := 0
	for name, stream := range streams {
		segments, err := Segments(stream)
		if err != nil {
			t.Fatal(err)
		}
		parts := make([][][]byte, len(segments))
		for i := len(segments) - 1; i >= 0; i-- {
			parts[i] = collect(segments[i])
		}
		var got [][]byte
		for _, p := range parts {
			got = append(got, p...)
		}
		want := collect(stream)
		if len(got) != len(want) {
			t.Fatalf("%s: %d pictures of %d segments, want %d", name, len(got), len(segments), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s: picture %d differs", name, i)
			}
		}
		t.Logf("%s: %d segments of %d pictures", name, len(segments), len(want))
		if len(segments) > 1 {
			cut++
		}
		if (name == "s1 twice" || name == "s1 and s6") && len(segments) != 2 {
			t.Errorf("%s: %d segments", name, len(segments))
		}
	}
	if cut < 2 {
		t.Error("nothing was cut")
	}
}

// TestSegmentsInheritSets drops the parameter sets of the second of two pictures: its segment must repeat them.
func TestSegmentsInheritSets(t *testing.T) {
	one := readStream(t, "s1")
	first := 0
	for rest := one; ; {
		nal, next, ok, err := nextNAL(rest)
		if err != nil || !ok {
			t.Fatal("no slice")
		}
		if nal.kind <= nalGDR {
			break
		}
		first = len(one) - len(next)
		rest = next
	}
	stream := append(bytes.Clone(one), one[first:]...)
	segments, err := Segments(stream)
	if err != nil || len(segments) != 2 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	var pictures [][]byte
	for _, s := range segments {
		if err := Decode(s, Options{}, func(f *Frame) error { pictures = append(pictures, f.AppendPlanar(nil)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(pictures) != 2 || !bytes.Equal(pictures[0], pictures[1]) {
		t.Errorf("%d pictures, or different ones", len(pictures))
	}
}

// TestSegmentsBounded repeats a picture that is much smaller than its parameter sets.
func TestSegmentsBounded(t *testing.T) {
	stream := append([]byte{0, 0, 1, 0, nalPPS<<3 | 1, 0}, bytes.Repeat([]byte{0xff}, 1<<20)...)
	for range 1000 {
		stream = append(stream, 0, 0, 1, 0, nalIDRNoLP<<3|1, 0x80, 0x80)
	}
	segments, err := Segments(stream)
	if err != nil || len(segments) != 1 {
		t.Errorf("%d segments, %v", len(segments), err)
	}
	if _, err := Segments([]byte{0, 0, 1, 0x80, 1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a bad unit: %v", err)
	}
}

// FuzzSegments shows that segments stay within their bound and hold all slices.
func FuzzSegments(f *testing.F) {
	f.Add(readStream(f, "s6"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		segments, err := Segments(stream)
		if err != nil {
			return
		}
		count := func(data []byte) (n int) {
			for {
				nal, rest, ok, err := nextNAL(data)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return n
				}
				if nal.layer == 0 && nal.kind <= nalGDR {
					n++
				}
				data = rest
			}
		}
		size, slices := 0, 0
		for _, s := range segments {
			size += len(s)
			slices += count(s)
		}
		if size > 9*len(stream)+2<<20 || slices != count(stream) {
			t.Errorf("%d bytes in, %d out; %d slices of %d", len(stream), size, slices, count(stream))
		}
	})
}
