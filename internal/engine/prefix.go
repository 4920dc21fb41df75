package engine

import "github.com/lamina-llm/lamina/model/kv"

// Requests that begin alike share the pages of the key-value cache that hold
// their common beginning: a system prompt, or a conversation that goes on. What
// a page holds does not depend on how it was computed (chunks, batch, regime), so
// a request gets the same tokens with and without a hit.

// newSeq reserves cache for all that a request may become. With shared prefixes
// it begins with what is there already; a request that scores its prompt needs
// the logits of every token and begins with nothing.
func (e *Engine) newSeq(j *job) (*kv.Seq, error) {
	most := len(j.req.Prompt) + j.req.MaxTokens
	if e.opt.NoPrefixCache || j.req.PromptLogprobs {
		return e.m.NewSeq(most)
	}
	return e.m.cache.NewSeqFor(j.req.Prompt, most)
}

// publishPrompt makes known what of the prompt is in the cache.
func (e *Engine) publishPrompt(j *job) {
	if !e.opt.NoPrefixCache {
		j.seq.Publish(j.req.Prompt[:j.fed])
	}
}

// publish makes known all that is in the cache of a request that is over.
func (e *Engine) publish(j *job) {
	if e.opt.NoPrefixCache || j.fed < len(j.req.Prompt) || j.guesses > 0 { // guesses: the last pass was not settled
		return
	}
	tokens := make([]int32, 0, len(j.req.Prompt)+len(j.said))
	tokens = append(append(tokens, j.req.Prompt...), j.said...)
	j.seq.Publish(tokens)
}
