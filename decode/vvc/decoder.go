package vvc

import (
	"fmt"
	"slices"
)

// Default limits of Options.
const (
	DefaultMaxPixels = 1 << 26
	DefaultMaxFrames = 1 << 16
)

// Options bounds what a stream may ask for. The zero value is ready to use.
type Options struct {
	// MaxPixels is the largest luma picture area in samples; 0 means DefaultMaxPixels. Decoding needs about 12 bytes of
	// memory per luma sample. A picture and those that wait for it because they are output later may together have four
	// times as many samples.
	MaxPixels int
	// MaxFrames is the largest number of pictures per call of Decode; 0 means DefaultMaxFrames.
	MaxFrames int
	// IgnoreHash turns off the comparison with picture hashes in the stream.
	IgnoreHash bool
}

// checkSize reports whether a picture of w by h luma samples is within limits while others wait for output.
func (o *Options) checkSize(w, h, waiting int) error {
	limit := o.MaxPixels
	if limit == 0 {
		limit = DefaultMaxPixels
	}
	if w > 1<<17 || h > 1<<17 || w*h > limit {
		return fmt.Errorf("%w: picture of %dx%d samples, limit %d", ErrLimit, w, h, limit)
	}
	if waiting > 0 && w*h*(waiting+1) > 4*limit {
		return fmt.Errorf("%w: %d pictures of %dx%d samples to reorder, limit %d", ErrLimit, waiting+1, w, h, limit)
	}
	return nil
}

// Decoder decodes byte streams. It keeps its buffers between calls; parameter sets do not outlive a call. It is not safe
// for concurrent use.
type Decoder struct {
	opts Options

	sps        [16]*sps
	pps        [64]*pps
	alfAPS     [8]*alfAPS
	lmcsAPS    [4]*lmcsAPS
	scalingAPS [8]*scalingLists

	ph       *picHeader
	pic      *picture // in progress
	waiting  []*picture
	free     []*picture
	prevPOC  int  // of the previous picture of the lowest temporal layer
	first    bool // the next picture starts a sequence
	skipRASL bool
	frames   int
	segments uint32

	slice *sliceDecoder
	alf   *alfFilter
	rbsp  []byte
	tmp   []uint16
	bytes []byte
}

// NewDecoder returns a decoder with the given limits.
func NewDecoder(opts Options) *Decoder {
	return &Decoder{opts: opts, slice: newSliceDecoder(), alf: new(alfFilter)}
}

// SetOptions sets other limits for the calls of Decode that follow. Buffers of pictures decoded before are kept.
func (d *Decoder) SetOptions(opts Options) { d.opts = opts }

// Decode decodes the Annex B byte stream data and passes its pictures to yield in output order. It stops at the first
// error, of the stream or of yield, and returns it; pictures before it have been passed on.
func (d *Decoder) Decode(data []byte, yield func(*Frame) error) error {
	d.reset()
	for {
		nal, rest, ok, err := nextNAL(data)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		data = rest
		if nal.layer > 0 {
			continue // enhancement layers
		}
		if err := d.decodeNAL(nal, yield); err != nil {
			return err
		}
	}
	if err := d.finishPicture(yield); err != nil {
		return err
	}
	return d.flush(yield)
}

// Decode decodes data with a new Decoder.
func Decode(data []byte, opts Options, yield func(*Frame) error) error {
	return NewDecoder(opts).Decode(data, yield)
}

func (d *Decoder) reset() {
	d.sps, d.pps = [16]*sps{}, [64]*pps{}
	d.alfAPS, d.lmcsAPS, d.scalingAPS = [8]*alfAPS{}, [4]*lmcsAPS{}, [8]*scalingLists{}
	d.ph = nil
	if d.pic != nil {
		d.free = append(d.free, d.pic)
	}
	d.pic = nil
	d.free = append(d.free, d.waiting...)
	d.waiting = d.waiting[:0]
	d.prevPOC, d.first, d.frames = 0, true, 0
}

func (d *Decoder) decodeNAL(nal nalUnit, yield func(*Frame) error) error {
	d.rbsp = unescape(d.rbsp[:0], nal.payload)
	r := &bitReader{data: d.rbsp}
	switch {
	case nal.kind == nalRASL && d.skipRASL:
		return nil // leading pictures of the first random access point refer to what is not there
	case nal.kind <= nalRASL || nal.kind >= nalIDRRadl && nal.kind <= nalGDR:
		return d.decodeSlice(r, nal, yield)
	case nal.kind == nalSuffixAPS:
		return d.parseAPS(r)
	case nal.kind == nalSuffixSEI:
		if d.pic != nil {
			if h := parseSEI(d.rbsp); h != nil {
				d.pic.hash = h
			}
		}
		return nil
	}
	// Everything else that matters starts a new picture.
	switch nal.kind {
	case nalSPS, nalPPS, nalPrefixAPS, nalPH, nalAUD, nalEOS, nalEOB:
	default:
		return nil
	}
	if nal.kind != nalPrefixAPS || d.pic != nil && d.pic.complete() {
		if err := d.finishPicture(yield); err != nil {
			return err
		}
	}
	switch nal.kind {
	case nalSPS:
		s, err := parseSPS(r, &d.opts)
		if err != nil {
			return err
		}
		d.sps[s.id] = s
	case nalPPS:
		p, err := parsePPS(r)
		if err != nil {
			return err
		}
		d.pps[p.id] = p
	case nalPrefixAPS:
		return d.parseAPS(r)
	case nalPH:
		ph, err := d.parsePicHeader(r)
		if err != nil {
			return err
		}
		d.ph = ph
	case nalEOS:
		d.first = true
	}
	return nil
}

// decodeSlice decodes one slice NAL unit.
func (d *Decoder) decodeSlice(r *bitReader, nal nalUnit, yield func(*Frame) error) error {
	sh, err := d.parseSliceHeader(r, nal, yield)
	if err != nil {
		return err
	}
	d.pic.slices = append(d.pic.slices, sh)
	return d.slice.decode(d.pic, sh, r.data[r.pos/8:], &d.segments)
}

// startPicture begins the picture of the current picture header.
func (d *Decoder) startPicture(nal nalUnit, yield func(*Frame) error) error {
	limit := d.opts.MaxFrames
	if limit == 0 {
		limit = DefaultMaxFrames
	}
	if d.frames++; d.frames > limit {
		return fmt.Errorf("%w: more than %d pictures", ErrLimit, limit)
	}
	ph := d.ph
	idr := nal.kind == nalIDRRadl || nal.kind == nalIDRNoLP
	if idr || nal.kind == nalCRA {
		d.skipRASL = d.first
	}
	if idr || nal.kind == nalCRA && d.first {
		if err := d.flush(yield); err != nil {
			return err
		}
	} else if d.first {
		return invalidf("stream does not start with a random access point")
	}
	if err := d.opts.checkSize(ph.pps.width, ph.pps.height, len(d.waiting)); err != nil {
		return err
	}
	pic := &picture{}
	if n := len(d.free); n > 0 {
		pic = d.free[n-1]
		d.free = d.free[:n-1]
	}
	pic.init(ph.sps, ph.pps)
	if f := pic.frame(); f.Width <= 0 || f.Height <= 0 {
		return invalidf("conformance window leaves %dx%d of %dx%d samples", f.Width, f.Height, ph.pps.width, ph.pps.height)
	}
	d.segments = 0
	pic.poc = d.pictureOrderCount(ph, idr)
	if nal.temporalID == 0 && !ph.nonRef {
		d.prevPOC = pic.poc
	}
	pic.output = ph.output
	d.first = false
	d.pic = pic
	return nil
}

// pictureOrderCount implements clause 8.3.1.
func (d *Decoder) pictureOrderCount(ph *picHeader, idr bool) int {
	size := 1 << ph.sps.pocBits
	switch {
	case ph.pocMsb >= 0:
		return ph.pocMsb*size + ph.pocLsb
	case idr || d.first:
		return ph.pocLsb
	}
	prevLsb := d.prevPOC & (size - 1)
	msb := d.prevPOC - prevLsb
	if ph.pocLsb < prevLsb && prevLsb-ph.pocLsb >= size/2 {
		msb += size
	} else if ph.pocLsb > prevLsb && ph.pocLsb-prevLsb > size/2 {
		msb -= size
	}
	return msb + ph.pocLsb
}

// complete reports whether all CTUs are decoded.
func (pic *picture) complete() bool {
	for i := range pic.ctus {
		if pic.ctus[i].slice == nil {
			return false
		}
	}
	return true
}

// finishPicture filters, verifies and enqueues the picture in progress, if any.
func (d *Decoder) finishPicture(yield func(*Frame) error) error {
	pic := d.pic
	if pic == nil {
		return nil
	}
	if !pic.complete() {
		return invalidf("picture %d is incomplete", pic.poc)
	}
	if d.ph.lmcs != nil {
		pic.inverseLmcs(pic.sps.ctbLog2)
	}
	pic.deblock()
	d.tmp = pic.sampleAdaptiveOffset(d.tmp)
	d.alf.run(pic)
	pic.checked = false
	if pic.hash != nil && !d.opts.IgnoreHash {
		var err error
		if d.bytes, err = pic.hash.verify(pic, d.bytes); err != nil {
			return err
		}
		pic.checked = true
	}
	d.pic, d.ph = nil, nil
	return d.enqueue(pic, yield)
}

// enqueue puts a finished picture among those that wait for output and passes on the ones that are due.
func (d *Decoder) enqueue(pic *picture, yield func(*Frame) error) error {
	if !pic.output {
		d.free = append(d.free, pic)
		return nil
	}
	d.waiting = append(d.waiting, pic)
	for len(d.waiting) > pic.sps.maxReorder {
		if err := d.outputNext(yield); err != nil {
			return err
		}
	}
	return nil
}

// outputNext passes on the waiting picture with the smallest picture order count (clause C.5.2.4).
func (d *Decoder) outputNext(yield func(*Frame) error) error {
	next := 0
	for i, p := range d.waiting {
		if p.poc < d.waiting[next].poc {
			next = i
		}
	}
	pic := d.waiting[next]
	d.waiting = slices.Delete(d.waiting, next, next+1)
	d.free = append(d.free, pic)
	return yield(pic.frame())
}

func (d *Decoder) flush(yield func(*Frame) error) error {
	for len(d.waiting) > 0 {
		if err := d.outputNext(yield); err != nil {
			return err
		}
	}
	return nil
}
