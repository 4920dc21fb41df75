package vvc

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

func readStream(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".266")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func discard(*Frame) error { return nil }

// nalOffsets returns the positions of the payloads of all NAL units of one type.
func nalOffsets(t *testing.T, stream []byte, kind int) (at []int) {
	t.Helper()
	for rest := stream; ; {
		nal, next, ok, err := nextNAL(rest)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return at
		}
		if nal.kind == kind {
			at = append(at, len(stream)-len(next)-len(nal.payload))
		}
		rest = next
	}
}

func TestHashMismatch(t *testing.T) {
	stream := readStream(t, "s1")
	at := nalOffsets(t, stream, nalSuffixSEI)
	if len(at) == 0 {
		t.Fatal("no suffix SEI")
	}
	stream[at[0]+8] ^= 1 // a byte of the luma digest
	if err := Decode(stream, Options{}, discard); !errors.Is(err, ErrHash) {
		t.Errorf("error %v, want ErrHash", err)
	}
	checked := false
	err := Decode(stream, Options{IgnoreHash: true}, func(f *Frame) error {
		checked = checked || f.HashChecked
		return nil
	})
	if err != nil || checked {
		t.Errorf("with IgnoreHash: error %v, checked %v", err, checked)
	}
}

func TestLimits(t *testing.T) {
	stream := readStream(t, "s1") // 128x128
	if err := Decode(stream, Options{MaxPixels: 128*128 - 1}, discard); !errors.Is(err, ErrLimit) {
		t.Errorf("one sample over the limit: %v", err)
	}
	if err := Decode(stream, Options{MaxPixels: 128 * 128}, discard); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	twice := append(bytes.Clone(stream), stream...)
	frames := 0
	count := func(*Frame) error { frames++; return nil }
	if err := Decode(twice, Options{MaxFrames: 1}, count); !errors.Is(err, ErrLimit) {
		t.Errorf("two frames of at most one: %v", err)
	}
	frames = 0
	if err := Decode(twice, Options{MaxFrames: 2}, count); err != nil || frames != 2 {
		t.Errorf("two frames of at most two: %d, %v", frames, err)
	}
}

func TestYieldError(t *testing.T) {
	stop := errors.New("stop")
	if err := Decode(readStream(t, "s1"), Options{}, func(*Frame) error { return stop }); err != stop {
		t.Errorf("error %v, want the one of the callback", err)
	}
}

// TestTruncated cuts streams everywhere near their headers and at many places of their slices.
func TestTruncated(t *testing.T) {
	d := NewDecoder(Options{})
	for _, name := range []string{"s6", "s7"} {
		stream := readStream(t, name)
		for n := 0; n < len(stream); n += 1 + n/64 {
			frames := 0
			err := d.Decode(stream[:n], func(*Frame) error { frames++; return nil })
			if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrHash) {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
			if err == nil && frames > 0 && n < len(stream)-64 { // the picture hash comes last
				t.Fatalf("%s cut at %d of %d decodes", name, n, len(stream))
			}
		}
		if err := d.Decode(stream, discard); err != nil {
			t.Fatalf("%s after errors: %v", name, err)
		}
	}
}

// TestReuse decodes different streams with one decoder: nothing may leak from one to the next.
func TestReuse(t *testing.T) {
	d := NewDecoder(Options{})
	for range 2 {
		for _, v := range loadVectors(t, "testdata") {
			if err := d.Decode(readStream(t, v.Name), discard); err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
	}
}

// TestAllocations bounds the garbage of a decoder in use: headers and frames, nothing per block.
func TestAllocations(t *testing.T) {
	stream := readStream(t, "s1")
	d := NewDecoder(Options{})
	n := testing.AllocsPerRun(10, func() {
		if err := d.Decode(stream, discard); err != nil {
			t.Fatal(err)
		}
	})
	if n > 60 {
		t.Errorf("%v allocations per picture", n)
	}
}

// TestUnsupported patches headers to ask for what is not decoded and checks that errors name it.
func TestUnsupported(t *testing.T) {
	base := readStream(t, "s1")
	at := nalOffsets(t, base, nalSPS)
	if len(at) != 1 {
		t.Fatalf("%d sequence parameter sets", len(at))
	}
	for _, v := range []struct {
		bit, width int
		value      uint32
		want       string
	}{
		{11, 2, 2, "4:2:2"},
		{11, 2, 3, "4:4:4"},
	} {
		stream := bytes.Clone(base)
		for i := range v.width {
			pos := at[0]*8 + v.bit + i
			mask := byte(0x80) >> (pos & 7)
			stream[pos>>3] &^= mask
			if v.value>>(v.width-1-i)&1 != 0 {
				stream[pos>>3] |= mask
			}
		}
		err := Decode(stream, Options{}, discard)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), v.want) {
			t.Errorf("error %v, want %s", err, v.want)
		}
	}
}

func TestClone(t *testing.T) {
	var kept []*Frame
	var raw [][]byte
	d := NewDecoder(Options{})
	keep := func(f *Frame) error {
		kept = append(kept, f.Clone())
		raw = append(raw, f.AppendPlanar(nil))
		return nil
	}
	for _, name := range []string{"s1", "s6", "s7", "s1"} {
		if err := d.Decode(readStream(t, name), keep); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range kept {
		if !bytes.Equal(f.AppendPlanar(nil), raw[i]) {
			t.Errorf("clone %d changed", i)
		}
	}
}
