package planes

import (
	"fmt"

	"github.com/lamina-llm/lamina/decode/vvc"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Matrix is a matrix whose bands are pictures.
type Matrix struct {
	layout  tile.Layout
	side    *Side
	streams [][]byte
}

// NewMatrix makes a matrix of the given shape from its side information. The
// pictures come later, by Attach.
func NewMatrix(rows, cols int, side []byte) (*Matrix, error) {
	l := tile.Layout{Rows: rows, Cols: cols}
	s, err := ParseSide(side, l)
	if err != nil {
		return nil, err
	}
	m := &Matrix{layout: l, side: s}
	m.streams = make([][]byte, m.Bands())
	return m, nil
}

// Layout returns the shape and its cut into panels.
func (m *Matrix) Layout() tile.Layout { return m.layout }

// Side returns the side information; it must not be changed.
func (m *Matrix) Side() *Side { return m.side }

// Bands returns the number of pictures.
func (m *Matrix) Bands() int { return (m.layout.Rows + m.side.Band - 1) / m.side.Band }

// Band returns the rows [r0, r1) of band b.
func (m *Matrix) Band(b int) (r0, r1 int) {
	return b * m.side.Band, min((b+1)*m.side.Band, m.layout.Rows)
}

// Blocks returns 1: a picture has all panels of its band.
func (m *Matrix) Blocks() int { return 1 }

// Block returns all panels [p0, p1).
func (m *Matrix) Block(int) (p0, p1 int) { return 0, m.layout.Panels() }

// Chunks returns the number of pictures.
func (m *Matrix) Chunks() int { return m.Bands() }

// PictureSize returns the size in samples of every picture: its columns and
// the rows of a band, also of the last, each rounded up to a multiple of 8.
func (m *Matrix) PictureSize() (width, height int) { return PictureSize(m.side.Band, m.layout.Cols) }

// PictureSize returns the size in samples of the pictures of a matrix.
func PictureSize(band, cols int) (width, height int) { return pad(cols, 8), pad(band, 8) }

// Attach sets the byte streams of all pictures, which the matrix borrows until
// the next Attach.
func (m *Matrix) Attach(streams [][]byte) error {
	if len(streams) != len(m.streams) {
		return corrupt("%d pictures, want %d", len(streams), len(m.streams))
	}
	copy(m.streams, streams)
	return nil
}

// AttachChunk sets the byte stream of one picture alone.
func (m *Matrix) AttachChunk(i int, stream []byte) error {
	if i < 0 || i >= len(m.streams) {
		return fmt.Errorf("planes: picture %d of %d", i, len(m.streams))
	}
	m.streams[i] = stream
	return nil
}

// Window of samples that have a level: level 0 is sample windowLow, weight 0 is
// level ZeroLevel.
const (
	windowLow = Zero - 64
	ZeroLevel = Zero - windowLow
	maxLevel  = 127
)

// Memory of a Scratch: at most FixedBytes and BytesPerSample for every sample of
// the largest picture.
const (
	BytesPerSample = 16
	FixedBytes     = 1 << 19
)

// Scratch is what one goroutine at a time decodes with. The zero value is ready;
// it grows with the first pictures and is kept.
type Scratch struct {
	decoder *vvc.Decoder
	picture Picture
}

// Picture is a decoded band: Rows x Cols samples without padding, row by row,
// 8 bits each.
type Picture struct {
	Rows, Cols int
	Samples    []uint8
}

// Decode decodes band b. The picture belongs to s and is valid until its next use.
func (m *Matrix) Decode(b int, s *Scratch) (*Picture, error) {
	stream := m.streams[b]
	if stream == nil {
		return nil, fmt.Errorf("planes: picture %d is not attached", b)
	}
	r0, r1 := m.Band(b)
	w, h := m.PictureSize()
	pic, err := s.Decode(stream, w, h, r1-r0, m.layout.Cols)
	if err != nil {
		return nil, fmt.Errorf("picture %d: %w", b, err)
	}
	return pic, nil
}

// Decode decodes the only picture of stream, which must have w x h samples, of
// which the first rows x cols are wanted. The picture belongs to s and is valid
// until its next use.
func (s *Scratch) Decode(stream []byte, w, h, rows, cols int) (*Picture, error) {
	// Encoders may code whole blocks of up to 64 and crop them.
	o := vvc.Options{MaxPixels: pad(w, 64) * pad(h, 64), MaxFrames: 1}
	if s.decoder == nil {
		s.decoder = vvc.NewDecoder(o)
	}
	s.decoder.SetOptions(o)
	frames := 0
	err := s.decoder.Decode(stream, func(f *vvc.Frame) error {
		frames++
		if f.Width != w || f.Height != h {
			return corrupt("picture of %d x %d samples, want %d x %d", f.Width, f.Height, w, h)
		}
		s.picture.set(f, rows, cols)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case frames != 1:
		return nil, corrupt("%d pictures in a stream, want 1", frames)
	}
	return &s.picture, nil
}

// set takes the luma samples of f. More than 8 bits are rounded to 8.
func (p *Picture) set(f *vvc.Frame, rows, cols int) {
	p.Rows, p.Cols = rows, cols
	if cap(p.Samples) < rows*cols {
		p.Samples = make([]uint8, rows*cols)
	}
	p.Samples = p.Samples[:rows*cols]
	shift := f.BitDepth - 8
	round := uint16(1) << shift >> 1
	for r := range rows {
		dst, src := p.Samples[r*cols:(r+1)*cols], f.Planes[0][r*f.Stride[0]:]
		src = src[:len(dst)]
		for j, v := range src {
			dst[j] = uint8(min((v+round)>>shift, 255))
		}
	}
}

// Levels decodes band b: dst[p] receives panel p row by row, each row as wide as
// the panel. Levels are at most 127; add is called for what must be added to
// level - ZeroLevel at a row of the band and a column of panel p.
func (m *Matrix) Levels(b int, dst [][]uint8, add func(p, row, col int, delta int32), s *Scratch) error {
	pic, err := m.Decode(b, s)
	if err != nil {
		return err
	}
	left := m.side.Outside
	for p := range m.layout.Panels() {
		c0, c1 := m.layout.Columns(p)
		width, used := c1-c0, min(c1, m.layout.Cols)-c0
		for r := range pic.Rows {
			src := pic.Samples[r*pic.Cols+c0:][:used]
			out := dst[p][r*width : (r+1)*width]
			for j, v := range src {
				level := int(v) - windowLow
				if uint(level) > maxLevel {
					if left--; left < 0 {
						return corrupt("picture %d: more than %d samples outside the window", b, m.side.Outside)
					}
					in := min(max(level, 0), maxLevel)
					add(p, r, j, int32(level-in))
					level = in
				}
				out[j] = uint8(level)
			}
			for j := used; j < width; j++ {
				out[j] = ZeroLevel
			}
		}
	}
	return nil
}

// CountOutside counts the samples that a window of the given planes leaves out.
func CountOutside(samples []uint8, planes int) (n int) {
	low := Zero - 8<<planes
	for _, v := range samples {
		if uint(int(v)-low) >= uint(16<<planes) {
			n++
		}
	}
	return n
}
