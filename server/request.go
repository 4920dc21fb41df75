package server

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/lamina-llm/lamina/model"
)

// common holds the fields that completions and chat share. Pointers tell
// "absent or null" from zero.
type common struct {
	Model             string             `json:"model"`
	MaxTokens         *integer           `json:"max_tokens"`
	Temperature       *float64           `json:"temperature"`
	TopP              *float64           `json:"top_p"`
	TopK              *integer           `json:"top_k"`
	MinP              *float64           `json:"min_p"`
	Seed              *integer           `json:"seed"`
	Stop              json.RawMessage    `json:"stop"`
	N                 *integer           `json:"n"`
	PresencePenalty   *float64           `json:"presence_penalty"`
	FrequencyPenalty  *float64           `json:"frequency_penalty"`
	RepetitionPenalty *float64           `json:"repetition_penalty"`
	LogitBias         map[string]float64 `json:"logit_bias"`
	IgnoreEOS         bool               `json:"ignore_eos"`
	Stream            bool               `json:"stream"`
	Timeout           *float64           `json:"timeout"`
	StreamOptions     *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

const (
	maxStops    = 16 // stop strings per request
	maxStopLen  = 1024
	maxLogprobs = 20 // alternatives per token
)

// call is one API request on its way: what to generate and how to answer.
type call struct {
	id, model    string
	created      int64
	fingerprint  string
	stream       bool
	includeUsage bool
	format       format
	timeout      time.Duration // for the whole answer; 0 is none

	n       int             // choices per prompt; choice i belongs to prompt i/n
	prompts [][]int32       // token ids
	echo    []string        // per prompt, text that its choices begin with; nil without echo
	jobs    []model.Request // one per choice
}

// sampling merges the request's settings over the server's defaults.
func (s *Server) sampling(c *common) (model.Sampling, *apiError) {
	out := s.o.Sampling
	if e := inRange("temperature", c.Temperature, 0, 2, &out.Temperature); e != nil {
		return out, e
	}
	if e := inRange("top_p", c.TopP, 0, 1, &out.TopP); e != nil {
		return out, e
	}
	out.TopP = max(out.TopP, 1e-6) // clients send 0 for "only the likeliest"
	if e := inRange("min_p", c.MinP, 0, 1, &out.MinP); e != nil {
		return out, e
	}
	if e := inRange("presence_penalty", c.PresencePenalty, -2, 2, &out.PresencePenalty); e != nil {
		return out, e
	}
	if e := inRange("frequency_penalty", c.FrequencyPenalty, -2, 2, &out.FrequencyPenalty); e != nil {
		return out, e
	}
	if e := inRange("repetition_penalty", c.RepetitionPenalty, 0.01, 10, &out.RepeatPenalty); e != nil {
		return out, e
	}
	topK, e := intInRange("top_k", c.TopK, int64(out.TopK), -1, 1<<31-1)
	if e != nil {
		return out, e
	}
	out.TopK = int(max(topK, 0)) // -1 is "off" to some clients
	if len(c.LogitBias) > 0 {
		out.LogitBias = make(map[int32]float32, len(c.LogitBias))
		for key, bias := range c.LogitBias {
			if bias == 0 {
				continue // nothing to add, whatever the key says
			}
			if bias < -100 || bias > 100 {
				return out, badRequest("logit_bias", "invalid_value", "Invalid 'logit_bias': the bias of %q must be between -100 and 100, but got %v.", key, bias)
			}
			id, err := strconv.ParseInt(key, 10, 32)
			if err != nil || id < 0 || id >= int64(s.text.Vocab()) {
				return out, badRequest("logit_bias", "invalid_value", "Invalid 'logit_bias': %q is not a token id from 0 to %d.", key, s.text.Vocab()-1)
			}
			out.LogitBias[int32(id)] = float32(bias)
		}
	}
	out.Seed = rand.Uint64()
	if c.Seed != nil {
		out.Seed = uint64(*c.Seed)
	}
	return out, nil
}

// newCall checks what completions and chat have in common and makes the jobs.
// maxTokens is nil where the request leaves it open; deflt then applies, or
// what fits if that is less (0: whatever fits). promptParam is the field to blame for a prompt.
func (s *Server) newCall(c *common, f format, promptParam string, prompts [][]int32, echo []string, maxTokens *integer, deflt, logprobs int) (*call, *apiError) {
	sampling, e := s.sampling(c)
	if e != nil {
		return nil, e
	}
	stop, e := parseStop(c.Stop)
	if e != nil {
		return nil, e
	}
	n, e := intInRange("n", c.N, 1, 1, int64(s.o.MaxChoices))
	if e != nil {
		return nil, e
	}
	if int(n)*len(prompts) > s.o.MaxChoices {
		return nil, badRequest("n", "invalid_value", "Too many choices: %d prompts with n = %d make %d, but at most %d are allowed.",
			len(prompts), n, int(n)*len(prompts), s.o.MaxChoices)
	}
	want, e := intInRange("max_tokens", maxTokens, -1, 0, 1<<31-1)
	if e != nil {
		return nil, e
	}
	timeout, e := s.timeout(c)
	if e != nil {
		return nil, e
	}
	k := &call{
		id: f.prefix() + randomHex(), model: c.Model, created: s.now().Unix(), fingerprint: s.o.Fingerprint,
		stream: c.Stream, includeUsage: c.Stream && c.StreamOptions != nil && c.StreamOptions.IncludeUsage,
		format: f, timeout: timeout, n: int(n), prompts: prompts, echo: echo,
	}
	if k.model == "" {
		k.model = s.o.Models[0]
	}
	for _, p := range prompts {
		tokens := int(want)
		if tokens < 0 {
			tokens = s.o.Context - len(p)
			if deflt > 0 {
				tokens = min(tokens, deflt)
			}
			tokens = max(tokens, 1) // a prompt that fills the context is refused below
		}
		if len(p)+tokens > s.o.Context {
			return nil, badRequest(promptParam, "context_length_exceeded",
				"This model's maximum context length is %d tokens. However, you requested %d tokens (%d in the prompt, %d in the completion). Please reduce the length of either.",
				s.o.Context, len(p)+tokens, len(p), tokens)
		}
		for i := range k.n {
			r := model.Request{
				ID: k.id, Prompt: p, MaxTokens: tokens, Stop: stop, IgnoreEOS: c.IgnoreEOS,
				Sampling: sampling, Logprobs: logprobs, PromptLogprobs: echo != nil && logprobs >= 0,
			}
			r.Sampling.Seed += uint64(i)
			k.jobs = append(k.jobs, r)
		}
	}
	return k, nil
}

// parseStop reads a string or a list of strings.
func parseStop(raw json.RawMessage) ([]string, *apiError) {
	if !present(raw) {
		return nil, nil
	}
	var stops []string
	if raw[0] == '"' {
		stops = make([]string, 1)
		if err := json.Unmarshal(raw, &stops[0]); err != nil {
			return nil, badType("stop", err)
		}
	} else if err := json.Unmarshal(raw, &stops); err != nil {
		return nil, badRequest("stop", "invalid_type", "Invalid type for 'stop': expected a string or an array of strings.")
	}
	if len(stops) > maxStops {
		return nil, badRequest("stop", "invalid_value", "Invalid 'stop': at most %d stop strings are allowed, but got %d.", maxStops, len(stops))
	}
	for _, st := range stops {
		if st == "" || len(st) > maxStopLen {
			return nil, badRequest("stop", "invalid_value", "Invalid 'stop': a stop string must have 1 to %d bytes.", maxStopLen)
		}
	}
	return stops, nil
}

func inRange(name string, v *float64, lo, hi float64, dst *float32) *apiError {
	if v == nil {
		return nil
	}
	if !(*v >= lo && *v <= hi) {
		return badRequest(name, "invalid_value", "Invalid '%s': must be between %v and %v, but got %v.", name, lo, hi, *v)
	}
	*dst = float32(*v)
	return nil
}

func intInRange(name string, v *integer, deflt, lo, hi int64) (int64, *apiError) {
	if v == nil {
		return deflt, nil
	}
	if n := int64(*v); n >= lo && n <= hi {
		return n, nil
	}
	return 0, badRequest(name, "invalid_value", "Invalid '%s': must be from %d to %d, but got %d.", name, lo, hi, int64(*v))
}

// checkModel accepts the served ids, and none at all.
func (s *Server) checkModel(id string) *apiError {
	if id == "" || s.serves(id) {
		return nil
	}
	return s.unknownModel(id)
}
