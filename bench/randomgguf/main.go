// Command randomgguf writes a LLaMA checkpoint of random weights as a GGUF file
// of type Q4_0, which Lamina packs and llama.cpp runs: for measuring speed and
// memory at sizes of which no trained model is at hand.
//
//	go run ./bench/randomgguf -o random.gguf            # 1.1 B weights, 625 MB
//	go run ./bench/randomgguf -shape small -o small.gguf
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/lamina-llm/lamina/internal/atomicfile"
)

// shape is what decides the size of a model.
type shape struct {
	width, layers, heads, kvHeads, ffn, vocab, context int
	tied                                               bool
}

var shapes = map[string]shape{
	"1.1b":  {2048, 16, 32, 8, 8192, 32000, 4096, false},
	"135m":  {576, 30, 9, 3, 1536, 49152, 8192, true}, // SmolLM2-135M
	"small": {256, 2, 4, 2, 512, 512, 512, true},
}

// tensor is one matrix or norm, by its name in a GGUF file.
type tensor struct {
	name       string
	rows, cols int // rows 0: a vector of cols ones in float32
}

func (t tensor) bytes() int {
	if t.rows == 0 {
		return 4 * t.cols
	}
	return t.rows * t.cols / block * blockBytes
}

func (s shape) tensors() []tensor {
	kv := s.width / s.heads * s.kvHeads
	ts := []tensor{{"token_embd.weight", s.vocab, s.width}}
	for i := range s.layers {
		name := func(part string) string { return fmt.Sprintf("blk.%d.%s.weight", i, part) }
		ts = append(ts, tensor{name("attn_norm"), 0, s.width},
			tensor{name("attn_q"), s.width, s.width}, tensor{name("attn_k"), kv, s.width}, tensor{name("attn_v"), kv, s.width},
			tensor{name("attn_output"), s.width, s.width}, tensor{name("ffn_norm"), 0, s.width},
			tensor{name("ffn_gate"), s.ffn, s.width}, tensor{name("ffn_up"), s.ffn, s.width}, tensor{name("ffn_down"), s.width, s.ffn})
	}
	ts = append(ts, tensor{"output_norm.weight", 0, s.width})
	if !s.tied {
		ts = append(ts, tensor{"output.weight", s.vocab, s.width})
	}
	return ts
}

func main() {
	log.SetFlags(0)
	out := flag.String("o", "", "file to write")
	name := flag.String("shape", "1.1b", "1.1b, 135m or small")
	seed := flag.Uint64("seed", 1, "of the random weights")
	flag.Parse()
	s, known := shapes[strings.ToLower(*name)]
	if *out == "" || !known || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*out, *name, s, *seed); err != nil {
		log.Fatal(err)
	}
}

// write makes the file.
func write(path, name string, s shape, seed uint64) error {
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		if _, err := w.Write(header(name, s)); err != nil {
			return err
		}
		for i, t := range s.tensors() {
			if err := weights(w, t, seed+uint64(i)); err != nil {
				return err
			}
			if _, err := w.Write(make([]byte, pad(t.bytes()))); err != nil {
				return err
			}
		}
		return nil
	})
}

const alignment = 32

func pad(n int) int { return (alignment - n%alignment) % alignment }

// Types of values and tensors in a GGUF file.
const (
	typeU32, typeF32, typeString, typeArray, typeI32 = 4, 6, 8, 9, 5
	tensorF32, tensorQ40                             = 0, 2
)

// header is everything before the weights: version 3, hyper-parameters, a
// SentencePiece vocabulary of 256 bytes and invented words, the directory.
func header(name string, s shape) []byte {
	var b []byte
	le := binary.LittleEndian
	text := func(s string) { b = append(le.AppendUint64(b, uint64(len(s))), s...) }
	count := 0
	key := func(k string, t uint32) { count++; text(k); b = le.AppendUint32(b, t) }
	u32 := func(k string, v int) { key(k, typeU32); b = le.AppendUint32(b, uint32(v)) }
	f32 := func(k string, v float32) { key(k, typeF32); b = le.AppendUint32(b, math.Float32bits(v)) }
	str := func(k, v string) { key(k, typeString); text(v) }
	array := func(k string, t uint32, n int) {
		key(k, typeArray)
		b = le.AppendUint64(le.AppendUint32(b, t), uint64(n))
	}
	str("general.architecture", "llama")
	str("general.name", "random "+name)
	u32("general.file_type", 2)
	u32("llama.context_length", s.context)
	u32("llama.embedding_length", s.width)
	u32("llama.block_count", s.layers)
	u32("llama.feed_forward_length", s.ffn)
	u32("llama.attention.head_count", s.heads)
	u32("llama.attention.head_count_kv", s.kvHeads)
	u32("llama.rope.dimension_count", s.width/s.heads)
	u32("llama.vocab_size", s.vocab)
	f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	f32("llama.rope.freq_base", 10000)
	str("tokenizer.ggml.model", "llama")
	u32("tokenizer.ggml.bos_token_id", 1)
	u32("tokenizer.ggml.eos_token_id", 2)
	u32("tokenizer.ggml.unknown_token_id", 0)
	array("tokenizer.ggml.tokens", typeString, s.vocab)
	for i := range s.vocab {
		switch {
		case i < 3:
			text([]string{"<unk>", "<s>", "</s>"}[i])
		case i < 3+256:
			text(fmt.Sprintf("<0x%02X>", i-3))
		default:
			text(fmt.Sprintf("\u2581w%d", i))
		}
	}
	array("tokenizer.ggml.scores", typeF32, s.vocab)
	for i := range s.vocab {
		b = le.AppendUint32(b, math.Float32bits(-float32(i)))
	}
	array("tokenizer.ggml.token_type", typeI32, s.vocab)
	for i := range s.vocab { // 2 unknown, 3 control, 6 byte, 1 normal
		kind := 1
		switch {
		case i == 0:
			kind = 2
		case i < 3:
			kind = 3
		case i < 3+256:
			kind = 6
		}
		b = le.AppendUint32(b, uint32(kind))
	}

	ts := s.tensors()
	front := le.AppendUint32([]byte("GGUF"), 3)
	front = le.AppendUint64(le.AppendUint64(front, uint64(len(ts))), uint64(count))
	b = slices.Concat(front, b)
	var offset uint64
	for _, t := range ts {
		text(t.name)
		dims, kind := []int{t.cols, t.rows}, uint32(tensorQ40)
		if t.rows == 0 {
			dims, kind = dims[:1], tensorF32
		}
		b = le.AppendUint32(b, uint32(len(dims)))
		for _, d := range dims {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint64(le.AppendUint32(b, kind), offset)
		offset += uint64(t.bytes() + pad(t.bytes()))
	}
	return append(b, make([]byte, pad(len(b)))...)
}

// A block of Q4_0 is a scale in half precision and 32 levels of 4 bits.
const block, blockBytes = 32, 18

// weights writes one tensor: Gaussian with the variance that keeps
// activations at their size, quantised row by row on all processors.
func weights(w io.Writer, t tensor, seed uint64) error {
	if t.rows == 0 {
		for range t.cols {
			if err := binary.Write(w, binary.LittleEndian, float32(1)); err != nil {
				return err
			}
		}
		return nil
	}
	const batch = 64 // rows of one goroutine; its seed does not depend on how many there are
	sigma := 1 / math.Sqrt(float64(t.cols))
	row := t.cols / block * blockBytes
	var wg sync.WaitGroup
	for first := 0; first < t.rows; {
		out := make([]byte, min(t.rows-first, batch*runtime.GOMAXPROCS(0))*row)
		for i := 0; i < len(out); i += batch * row {
			part, random := out[i:min(len(out), i+batch*row)], rand.New(rand.NewPCG(seed, uint64(first+i/row)))
			wg.Go(func() { quantize(part, random, sigma) })
		}
		wg.Wait()
		if _, err := w.Write(out); err != nil {
			return err
		}
		first += len(out) / row
	}
	return nil
}

func quantize(out []byte, random *rand.Rand, sigma float64) {
	var x [block]float64
	for ; len(out) > 0; out = out[blockBytes:] {
		extreme := 0.0
		for i := range x {
			x[i] = random.NormFloat64() * sigma
			if math.Abs(x[i]) > math.Abs(extreme) {
				extreme = x[i]
			}
		}
		d := extreme / -8
		binary.LittleEndian.PutUint16(out, half(float32(d)))
		for i := range block / 2 {
			out[2+i] = level(x[i]/d) | level(x[i+block/2]/d)<<4
		}
	}
}

func level(v float64) byte { return byte(min(max(math.Round(v)+8, 0), 15)) }

// half rounds v, a normal number in the range of half precision, towards zero.
func half(v float32) uint16 {
	b := math.Float32bits(v)
	e := int(b>>23&0xff) - 127 + 15
	if e <= 0 || e >= 31 {
		panic(fmt.Sprintf("randomgguf: scale %v is out of range", v))
	}
	return uint16(b>>16&0x8000) | uint16(e)<<10 | uint16(b>>13&0x3ff)
}
