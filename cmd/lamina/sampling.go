package main

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/sample"
)

// samplingFlags say how tokens are drawn. What is not given comes from the
// model's own recommendation, or from terminalSampling.
type samplingFlags struct {
	Temperature      *float32 `placeholder:"T" help:"0 is greedy; up to 2. Default: what the model recommends, as for the next ones, or 0.6 with a top-p of 0.9."`
	TopP             *float32 `placeholder:"P" help:"Nucleus mass; 1 is off."`
	TopK             *int     `placeholder:"K" help:"Likeliest tokens kept; 0 is off."`
	MinP             *float32 `placeholder:"P" help:"Floor relative to the likeliest token; 0 is off."`
	RepeatPenalty    *float32 `placeholder:"X" help:"Penalty on tokens already there; 1 is off."`
	PresencePenalty  *float32 `placeholder:"X" help:"Subtracted once from tokens already generated, -2 to 2."`
	FrequencyPenalty *float32 `placeholder:"X" help:"Subtracted for every occurrence, -2 to 2."`
	Seed             *uint64  `placeholder:"N" help:"Same seed, same answer; default: random."`
}

// anyVocab stands in for a vocabulary where only the ranges of parameters are
// checked.
const anyVocab = 1 << 21

// terminalSampling replaces a recommendation that says nothing. OpenAI's default
// of temperature 1 with nothing cut off is for large models; small ones wander.
func terminalSampling(s model.Sampling) model.Sampling {
	if reflect.DeepEqual(s, model.DefaultSampling()) {
		s.Temperature, s.TopP = 0.6, 0.9
	}
	return s
}

// merge puts the flags over base.
func (f *samplingFlags) merge(base model.Sampling) model.Sampling {
	put(&base.Temperature, f.Temperature)
	put(&base.TopP, f.TopP)
	put(&base.TopK, f.TopK)
	put(&base.MinP, f.MinP)
	put(&base.RepeatPenalty, f.RepeatPenalty)
	put(&base.PresencePenalty, f.PresencePenalty)
	put(&base.FrequencyPenalty, f.FrequencyPenalty)
	base.Seed = rand.Uint64()
	put(&base.Seed, f.Seed)
	return base
}

func put[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// check reports the first flag out of range, before a model is loaded.
func (f *samplingFlags) check() error {
	_, err := sample.New(f.merge(model.DefaultSampling()), nil, anyVocab)
	return err
}

// setSampling sets one parameter by the name of its flag.
func setSampling(s *model.Sampling, name, value string) error {
	f, isFloat := map[string]*float32{
		"temperature": &s.Temperature, "top-p": &s.TopP, "min-p": &s.MinP, "repeat-penalty": &s.RepeatPenalty,
		"presence-penalty": &s.PresencePenalty, "frequency-penalty": &s.FrequencyPenalty,
	}[strings.ReplaceAll(name, "_", "-")]
	old := *s
	switch {
	case isFloat:
		v, err := strconv.ParseFloat(value, 32)
		if err != nil {
			return fmt.Errorf("%s: %q is no number", name, value)
		}
		*f = float32(v)
	case name == "top-k" || name == "top_k":
		v, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%s: %q is no whole number", name, value)
		}
		s.TopK = v
	case name == "seed":
		v, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is no whole number of 0 or more", name, value)
		}
		s.Seed = v
	default:
		return fmt.Errorf("%q cannot be set (known: %s)", name, strings.Join(settable, ", "))
	}
	if _, err := sample.New(*s, nil, anyVocab); err != nil {
		*s = old
		return err
	}
	return nil
}

// settable are the names that setSampling knows.
var settable = []string{
	"temperature", "top-p", "top-k", "min-p", "repeat-penalty", "presence-penalty", "frequency-penalty", "seed",
}
