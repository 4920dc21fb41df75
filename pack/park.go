package pack

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// park keeps triangles in a temporary file when all of them together are more
// than may be held: first Gram matrices, then the factors that they become. Those
// in memory at a time take limit bytes at most; one that is larger works alone.
// Its methods may be called concurrently.
type park struct {
	limit   int64
	held    *semaphore.Weighted
	file    *os.File
	end     atomic.Int64
	garbage atomic.Int64 // bytes that were let go of since the last collection
}

// openPark sees to it that there is a park for the output at path if it is
// needed.
func (p *packer) openPark(path string) error {
	parts, err := groups(p.cfg, p.opt.Statistics)
	if err != nil || len(parts) == 1 {
		return err
	}
	if !p.opt.dense() {
		return fmt.Errorf("statistics of this model take more than %d MiB, which is for dense matrices alone; allow more (--calibrate-memory) or pack without calibration", p.opt.Statistics>>20)
	}
	p.park, err = newPark(path, p.opt.Statistics)
	return err
}

// newPark returns a park whose file is beside the output at path.
func newPark(path string, limit int64) (*park, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".statistics-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // where an open file may lose its name a run that is killed leaves nothing
	return &park{limit: limit, held: semaphore.NewWeighted(limit), file: f}, nil
}

// close ends the park, if there is one, and removes its file where newPark could not.
func (k *park) close() {
	if k == nil {
		return
	}
	k.file.Close()
	os.Remove(k.file.Name())
}

// place is where a triangle is parked.
type place struct {
	park *park
	at   int64
}

// put parks g: it is written to the file and lets go of its elements, and keeps
// its size. A nil park does nothing.
func (k *park) put(g *triangle) error {
	if k == nil {
		return nil
	}
	g.place = &place{k, k.end.Add(4*g.elements()) - 4*g.elements()}
	return g.park()
}

// work waits until so many bytes more may be in memory. A nil park never waits.
func (k *park) work(ctx context.Context, bytes int64) (done func(), err error) {
	if k == nil {
		return func() {}, nil
	}
	bytes = min(bytes, k.limit)
	if err := k.held.Acquire(ctx, bytes); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() {
		// Left to itself the heap would grow to twice of what is in use.
		if k.garbage.Add(bytes) > k.limit/2 {
			k.garbage.Store(0)
			runtime.GC()
		}
		k.held.Release(bytes)
	}, nil
}

// hold brings a parked triangle into memory until release, which forgets changes.
// Both do nothing for one that was never parked. A triangle is held by one goroutine at
// a time.
func (g *triangle) hold(ctx context.Context) (release func(), err error) {
	if g.place == nil {
		return func() {}, nil
	}
	done, err := g.place.park.work(ctx, 4*g.elements())
	if err != nil {
		return nil, err
	}
	if err := g.load(); err != nil {
		done()
		return nil, err
	}
	return func() {
		g.left, g.diag = nil, nil
		done()
	}, nil
}

// load reads the elements of g from its place.
func (g *triangle) load() error {
	g.allocate()
	at := g.place.at
	var buf []byte
	for _, v := range g.slices() {
		buf = append(buf[:0], make([]byte, 4*len(v))...)
		if _, err := g.place.park.file.ReadAt(buf, at); err != nil {
			return fmt.Errorf("parked statistics: %w", err)
		}
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
		}
		at += int64(len(buf))
	}
	return nil
}

// park writes the elements of g to its place and lets go of them.
func (g *triangle) park() error {
	at := g.place.at
	var buf []byte
	for _, v := range g.slices() {
		buf = buf[:0]
		for _, x := range v {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
		}
		if _, err := g.place.park.file.WriteAt(buf, at); err != nil {
			return fmt.Errorf("parked statistics: %w", err)
		}
		at += int64(len(buf))
	}
	g.left, g.diag = nil, nil
	return nil
}
