package vvc

import (
	"errors"
	"slices"
	"testing"
)

// TestPictureOrderCount follows counts of 4 bits over a wrap in both directions.
func TestPictureOrderCount(t *testing.T) {
	d := &Decoder{}
	s := &sps{pocBits: 4}
	for _, c := range []struct {
		prev, lsb, want int
	}{
		{0, 1, 1}, {5, 3, 3}, {14, 2, 18}, {18, 15, 15}, {18, 9, 25}, {18, 10, 26}, {18, 11, 11}, {31, 0, 32}, {0, 12, -4},
	} {
		d.prevPOC = c.prev
		if got := d.pictureOrderCount(&picHeader{sps: s, pocLsb: c.lsb, pocMsb: -1}, false); got != c.want {
			t.Errorf("lsb %d after %d: %d, want %d", c.lsb, c.prev, got, c.want)
		}
	}
	d.prevPOC = 40
	if got := d.pictureOrderCount(&picHeader{sps: s, pocLsb: 3, pocMsb: -1}, true); got != 3 {
		t.Errorf("IDR picture: %d, want 3", got)
	}
	if got := d.pictureOrderCount(&picHeader{sps: s, pocLsb: 3, pocMsb: 2}, false); got != 35 {
		t.Errorf("explicit upper bits: %d, want 35", got)
	}
}

// TestReordering passes pictures through the output queue in coding order.
func TestReordering(t *testing.T) {
	s, p := &sps{ctbLog2: 5, bitDepth: 8, maxWidth: 8, maxHeight: 8, maxReorder: 2}, &pps{width: 8, height: 8}
	d := NewDecoder(Options{})
	var got []int
	yield := func(f *Frame) error { got = append(got, f.POC); return nil }
	for _, poc := range []int{0, 8, 4, 2, 6, 16, 12} {
		pic := &picture{poc: poc, output: poc != 6}
		pic.init(s, p)
		if err := d.enqueue(pic, yield); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{0, 2, 4, 8}; !slices.Equal(got, want) {
		t.Errorf("before the end: %v, want %v", got, want)
	}
	if err := d.flush(yield); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 2, 4, 8, 12, 16}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if len(d.free) != 7 || len(d.waiting) != 0 {
		t.Errorf("%d pictures free, %d waiting", len(d.free), len(d.waiting))
	}
}

func TestReorderingLimit(t *testing.T) {
	o := Options{MaxPixels: 64 * 64}
	for waiting, want := range []error{nil, nil, nil, nil, ErrLimit} {
		if err := o.checkSize(64, 64, waiting); !errors.Is(err, want) {
			t.Errorf("%d waiting: %v, want %v", waiting, err, want)
		}
	}
	if err := o.checkSize(64, 65, 0); !errors.Is(err, ErrLimit) {
		t.Errorf("too large a picture: %v", err)
	}
}
