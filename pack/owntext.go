package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/selftext"
)

// OwnText asks the source model to write its own calibration text, so that
// packing needs no data: tokens drawn from its predictions, in documents that
// begin with BOS. The same source and OwnText give the same text on one tier.
type OwnText struct {
	Tokens int    `json:"tokens"` // at least 64
	BOS    int32  `json:"bos"`    // token that documents begin with; -1: any
	Seed   uint64 `json:"seed"`
}

const (
	ownHeld  = 640 << 20 // bytes of a float32 model that are held while it writes
	ownCache = 448 << 20 // bytes of keys and values

	// A sequence takes as many passes over the model as it has tokens, so there
	// are some tens of sequences side by side, and those of a streamed model are short.
	ownSide    = 32
	ownStretch = 128 // tokens of a sequence, at least
)

// Count returns the number of tokens of the text, written or not.
func (c *Calibration) Count() int {
	if c.Own != nil {
		return c.Own.Tokens
	}
	return len(c.Tokens)
}

// describe names the text in a sentence.
func (c *Calibration) describe() string {
	if c.Own != nil {
		return "text that the model wrote"
	}
	return c.Name
}

// writeText fills in the tokens of a text that the model is to write itself, or
// finds them in the journal. Tuning reads on where calibration ends.
func (p *packer) writeText(ctx context.Context) error {
	own := p.opt.Calibrate.Own
	if own == nil {
		return nil
	}
	all := *own
	if t := p.opt.Tune; t != nil && t.Text == nil {
		all.Tokens = max(own.Tokens, t.Tokens)
	}
	var text []int32
	if p.journal != nil {
		text = p.journal.loadText(all.Tokens)
	}
	if text == nil {
		var err error
		text, err = WriteText(ctx, p.src, all, p.opt.Workers, func(done, total int) {
			p.opt.Progress(Progress{"write", p.opt.Calibrate.describe(), int64(done), int64(total)})
		})
		if err == nil && p.journal != nil {
			err = p.journal.saveText(text)
		}
		if err != nil {
			return fmt.Errorf("pack: write calibration text: %w", err)
		}
	}
	cal := *p.opt.Calibrate // the caller's stays as it is
	cal.Tokens = text[:own.Tokens]
	p.opt.Calibrate = &cal
	if t := p.opt.Tune; t != nil && t.Text == nil {
		learn := *t
		learn.Text = text
		p.opt.Tune = &learn
	}
	return nil
}

// WriteText returns a text that the model of a checkpoint writes. progress, if not
// nil, hears how many tokens are there.
func WriteText(ctx context.Context, src *source.Source, own OwnText, threads int, progress func(done, total int)) ([]int32, error) {
	if own.Tokens < 1 {
		return nil, fmt.Errorf("%d tokens, want at least 1", own.Tokens)
	}
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	c, pool := src.Config(), workers(threads)
	o := selftext.Options{
		Tokens: own.Tokens, Stretch: min(window, c.MaxContext, max(ownStretch, own.Tokens/ownSide)), BOS: own.BOS, Temperature: 1, Seed: own.Seed, CacheBytes: ownCache,
		Progress: progress,
	}
	var w llama.Weights
	var err error
	if selftext.WeightBytes(c) > ownHeld {
		o.Stretch = min(o.Stretch, ownStretch)
		w, err = llama.NewFloatWeights(ctx, c, src.ReadRows, pool, true)
	} else {
		w, err = selftext.Read(ctx, c, src.ReadRows, pool)
	}
	if err != nil {
		return nil, err
	}
	return selftext.Write(ctx, c, w, pool, o)
}

// saveText keeps a text that took long to write.
func (j *journal) saveText(tokens []int32) error {
	data, err := binary.Append(nil, binary.LittleEndian, tokens)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	return atomicfile.Write(filepath.Join(j.dir, journalText), 0o644, func(w io.Writer) error {
		_, err := w.Write(append(data, sum[:]...))
		return err
	})
}

// loadText returns what saveText kept, or nil if that is not whole.
func (j *journal) loadText(n int) []int32 {
	path := filepath.Join(j.dir, journalText)
	if st, err := os.Stat(path); err != nil || st.Size() != int64(4*n+sha256.Size) {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 4*n+sha256.Size {
		return nil
	}
	if sum := sha256.Sum256(data[:4*n]); !bytes.Equal(sum[:], data[4*n:]) {
		return nil
	}
	tokens := make([]int32, n)
	if _, err := binary.Decode(data, binary.LittleEndian, tokens); err != nil {
		return nil
	}
	return tokens
}
