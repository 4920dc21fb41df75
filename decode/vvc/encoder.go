package vvc

import (
	"crypto/md5"
	"errors"
	"fmt"
)

// ErrEncode reports options or pictures that cannot be encoded; the message says why.
var ErrEncode = errors.New("vvc: cannot encode")

// EncodeOptions describes the pictures to encode and how.
type EncodeOptions struct {
	// Width and Height of all pictures in samples: 4 to 1<<16 each, and at most DefaultMaxPixels in area.
	Width, Height int
	// BitDepth of samples: 8 or 10.
	BitDepth int
	// QP is the quantisation parameter, -6*(BitDepth-8) to 63. The quantiser step doubles every 6.
	QP int
	// Slices cuts every picture into bands that can be encoded and decoded independently: at most this many, each of whole
	// rows of 128x128 samples. 0 means one. Pictures of at most 128 columns are not cut: FFmpeg 8.1 decodes such slices wrongly.
	Slices int
	// Run calls task(i) for all i in [0, n), possibly concurrently, and returns when all have ended. Slices and pictures
	// are such tasks, and each takes about 12 bytes a sample while it runs. The result does not depend on it. Nil runs them
	// one after another.
	Run func(n int, task func(i int))
}

// EncodeStats sums up what was encoded.
type EncodeStats struct {
	Pictures int
	Samples  int // of all pictures
	Bytes    int // of the stream
	// SquaredError is the sum of squared differences between samples and what a decoder will output.
	SquaredError uint64
}

func (o *EncodeOptions) check(pictures [][]uint16) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrEncode}, args...)...)
	}
	switch {
	case o.Width < 4 || o.Height < 4 || o.Width > 1<<16 || o.Height > 1<<16 || o.Width*o.Height > DefaultMaxPixels:
		return fail("pictures of %dx%d samples", o.Width, o.Height)
	case o.BitDepth != 8 && o.BitDepth != 10:
		return fail("samples of %d bits, not 8 or 10", o.BitDepth)
	case o.QP < -6*(o.BitDepth-8) || o.QP > 63:
		return fail("QP %d is outside %d to 63", o.QP, -6*(o.BitDepth-8))
	case o.Slices < 0:
		return fail("%d slices", o.Slices)
	case len(pictures) == 0:
		return fail("no pictures")
	}
	for i, p := range pictures {
		if len(p) != o.Width*o.Height {
			return fail("picture %d has %d samples instead of %dx%d", i, len(p), o.Width, o.Height)
		}
		for j, v := range p {
			if v>>o.BitDepth != 0 {
				return fail("picture %d: sample %d is %d, more than %d bits", i, j, v, o.BitDepth)
			}
		}
	}
	return nil
}

// Encode codes pictures, each of Width*Height samples in raster order, as an Annex B byte stream of the Main 10 profile
// (Main 10 Still Picture if there is one): 4:0:0, every picture an instantaneous decoder refresh with its MD5, no loop
// filters. It is made for planes that look like noise, such as weights: what can be predicted in other pictures, it does
// not predict. Errors wrap [ErrEncode].
func Encode(pictures [][]uint16, opts EncodeOptions) ([]byte, EncodeStats, error) {
	if err := opts.check(pictures); err != nil {
		return nil, EncodeStats{}, err
	}
	shape := newStreamShape(&opts, len(pictures))
	bands := make([]encodedBand, len(pictures)*shape.slices)
	task := func(i int) {
		bands[i] = shape.encodeBand(&opts, pictures[i/shape.slices], i%shape.slices)
	}
	if opts.Run != nil {
		opts.Run(len(bands), task)
	} else {
		for i := range bands {
			task(i)
		}
	}
	stats := EncodeStats{Pictures: len(pictures), Samples: len(pictures) * opts.Width * opts.Height}
	largest := 0
	for i := range pictures {
		size := 0
		for _, b := range bands[i*shape.slices : (i+1)*shape.slices] {
			size += len(b.data)
			stats.SquaredError += b.squaredError
		}
		largest = max(largest, size)
	}
	shape.level = shape.chooseLevel(largest)
	var out []byte
	out = appendNAL(out, nalSPS, shape.writeSPS())
	out = appendNAL(out, nalPPS, shape.writePPS())
	for i := range pictures {
		out = shape.appendPicture(out, &opts, bands[i*shape.slices:(i+1)*shape.slices])
	}
	stats.Bytes = len(out)
	return out, stats, nil
}

// encodedBand is a finished slice.
type encodedBand struct {
	data         []byte
	bins         int
	recon        []byte // samples as picture hashes see them
	squaredError uint64
}

func newStreamShape(o *EncodeOptions, pictures int) *streamShape {
	s := &streamShape{
		width: (o.Width + 7) &^ 7, height: (o.Height + 7) &^ 7, bitDepth: o.BitDepth,
		still: pictures == 1, level: levelUnlimited,
	}
	s.cropRight, s.cropDown = s.width-o.Width, s.height-o.Height
	rows := (s.height + 1<<encCtbLog2 - 1) >> encCtbLog2
	s.sliceRows = (rows + max(o.Slices, 1) - 1) / max(o.Slices, 1)
	if s.width <= 1<<encCtbLog2 {
		s.sliceRows = rows
	}
	if most := maxSlices - 1; (rows+s.sliceRows-1)/s.sliceRows > most {
		s.sliceRows = (rows + most - 1) / most
	}
	s.slices = (rows + s.sliceRows - 1) / s.sliceRows
	return s
}

// encodeBand codes slice i of a picture.
func (s *streamShape) encodeBand(o *EncodeOptions, picture []uint16, i int) encodedBand {
	first := i * s.sliceRows << encCtbLog2
	band := *s
	band.slices = 1
	band.height = min(s.height-first, s.sliceRows<<encCtbLog2)
	height := min(o.Height-first, band.height)
	// What the encoder writes, the decoder's parser understands.
	sps, err := parseSPS(&bitReader{data: band.writeSPS()}, &Options{})
	if err != nil {
		panic(err)
	}
	pps, err := parsePPS(&bitReader{data: band.writePPS()})
	if err != nil {
		panic(err)
	}
	e := newSliceEncoder()
	src := picture[first*o.Width : (first+height)*o.Width]
	b := encodedBand{data: e.encode(sps, pps, o.QP, src, o.Width, height), bins: e.w.bins}
	plane := &e.d.pic.planes[0]
	for y := range height {
		row := plane.pix[y*plane.stride:]
		for x, v := range src[y*o.Width : (y+1)*o.Width] {
			diff := int(v) - int(row[x])
			b.squaredError += uint64(diff * diff)
		}
	}
	b.recon = make([]byte, 0, plane.w*plane.h*((s.bitDepth+7)/8))
	b.recon = appendSamples(b.recon, plane.pix[:plane.w*plane.h], s.bitDepth)
	return b
}

// appendPicture appends the NAL units of one picture.
func (s *streamShape) appendPicture(out []byte, o *EncodeOptions, bands []encodedBand) []byte {
	if s.slices > 1 {
		w := new(bitWriter)
		writePicHeader(w)
		w.trailing()
		out = appendNAL(out, nalPH, w.data)
	}
	sum := md5.New()
	bins, size := 0, 0
	for i := range bands {
		b := &bands[i]
		rbsp := append(s.writeSliceHeader(i, o.QP), b.data...)
		sum.Write(b.recon)
		bins += b.bins
		size += len(rbsp)
		if i == len(bands)-1 {
			// A picture must not have too many bins for its size (clause 7.4.2.4.4).
			for 3*(bins-s.width*s.height*s.bitDepth/32) > 32*size {
				rbsp = append(rbsp, 0, 0)
				size += 3
			}
		}
		out = appendNAL(out, nalIDRNoLP, rbsp)
	}
	var digest [md5.Size]byte
	sum.Sum(digest[:0])
	return appendNAL(out, nalSuffixSEI, writeHash(digest))
}
