package vvc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// escape inserts emulation prevention bytes, the inverse of unescape.
func escape(data []byte) (out []byte) {
	zeros := 0
	for _, b := range data {
		if zeros >= 2 && b <= 3 {
			out = append(out, 3)
			zeros = 0
		}
		out = append(out, b)
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}

func TestNALRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		var stream []byte
		var want [][]byte
		for range rng.IntN(5) {
			data := make([]byte, rng.IntN(40))
			for i := range data {
				data[i] = byte(rng.IntN(5)) // many zeros and threes
			}
			data = append(data, 0x80)
			want = append(want, data)
			if rng.IntN(2) == 0 {
				stream = append(stream, 0)
			}
			stream = append(stream, 0, 0, 1, 3, byte(nalPPS<<3|1))
			stream = append(stream, escape(data)...)
			stream = append(stream, make([]byte, rng.IntN(3))...) // trailing zeros
		}
		for i := 0; ; i++ {
			nal, rest, ok, err := nextNAL(stream)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if i != len(want) {
					t.Fatalf("%d units, want %d", i, len(want))
				}
				break
			}
			if nal.kind != nalPPS || nal.layer != 3 || nal.temporalID != 0 {
				t.Fatalf("header %+v", nal)
			}
			got := unescape(nil, nal.payload)
			if !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight(want[i], "\x00")) {
				t.Fatalf("payload %x, want %x", got, want[i])
			}
			stream = rest
		}
	}
}

func TestNALErrors(t *testing.T) {
	for _, data := range [][]byte{
		{0, 0, 1, 0x80, 1, 2},   // forbidden_zero_bit
		{0, 0, 1, 0, 0, 2},      // nuh_temporal_id_plus1 of zero: the next start code is found first
		{0, 0, 1, 0},            // no second header byte
		{0, 0, 1, 0, 0x78, 255}, // nuh_temporal_id_plus1 of zero
	} {
		if _, _, _, err := nextNAL(data); !errors.Is(err, ErrInvalid) {
			t.Errorf("%x: error %v", data, err)
		}
	}
	if _, _, ok, err := nextNAL([]byte{1, 2, 3, 0, 0}); ok || err != nil {
		t.Errorf("no start code: %v, %v", ok, err)
	}
}

// TestExpGolomb decodes the first codes of clause 9.2 and long ones.
func TestExpGolomb(t *testing.T) {
	var bits []byte // one per bit
	put := func(v uint64, n int) {
		for i := n - 1; i >= 0; i-- {
			bits = append(bits, byte(v>>i&1))
		}
	}
	values := []uint32{0, 1, 2, 3, 7, 8, 1000, 1 << 20, 1<<32 - 2}
	for _, v := range values {
		n := 0
		for x := uint64(v) + 1; x > 1; x >>= 1 {
			n++
		}
		put(0, n)
		put(uint64(v)+1, n+1)
	}
	for _, v := range []uint64{1, 2, 3, 4, 5} { // codes of 0, 1, -1, 2, -2
		n := []int{0, 1, 1, 2, 2}[v-1]
		put(0, n)
		put(v, n+1)
	}
	data := make([]byte, (len(bits)+7)/8)
	for i, b := range bits {
		data[i/8] |= b << (7 - i%8)
	}
	r := &bitReader{data: data}
	for _, v := range values {
		if got := r.ue(); got != v || r.err != nil {
			t.Errorf("ue is %d, want %d (%v)", got, v, r.err)
		}
	}
	for _, v := range []int{0, 1, -1, 2, -2} {
		if got := r.se(); got != v {
			t.Errorf("se is %d, want %d", got, v)
		}
	}
	r = &bitReader{data: make([]byte, 100)}
	if r.ue(); !errors.Is(r.err, ErrInvalid) {
		t.Errorf("endless code: %v", r.err)
	}
	r = &bitReader{data: []byte{1}}
	if r.u(9); !errors.Is(r.err, ErrInvalid) {
		t.Errorf("read beyond the end: %v", r.err)
	}
}
