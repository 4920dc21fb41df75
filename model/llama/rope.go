package llama

import "math"

// InverseFrequencies returns the HeadDim/2 rotation rates of RoPE, in radians
// per position, after frequency scaling.
//
// The arithmetic follows Hugging Face transformers (modeling_rope_utils.py)
// step by step in float32, since its rates are what checkpoints were trained
// and are evaluated with: at position 100,000 a rate that is more exact than
// theirs is already a visibly different angle.
func (c Config) InverseFrequencies() []float32 {
	f := make([]float32, c.HeadDim/2)
	for i := range f {
		exponent := float32(2*i) / float32(c.HeadDim)
		f[i] = 1 / float32(math.Pow(c.RopeTheta, float64(exponent)))
	}
	s := c.RopeScaling
	if s == nil {
		return f
	}
	factor := float32(s.Factor)
	for i, rate := range f {
		if s.Type == "linear" {
			f[i] = rate / factor
			continue
		}
		// llama3: wavelengths beyond the original context are stretched by
		// factor, short ones kept, those between blended.
		original := float64(s.OriginalContext)
		wavelength := float32(2*math.Pi) / rate
		switch {
		case wavelength > float32(original/s.LowFreqFactor):
			f[i] = rate / factor
		case wavelength < float32(original/s.HighFreqFactor):
		default:
			smooth := (float32(original)/wavelength - float32(s.LowFreqFactor)) / float32(s.HighFreqFactor-s.LowFreqFactor)
			f[i] = float32((1-smooth)*rate/factor) + float32(smooth*rate)
		}
	}
	return f
}

// angles writes the cosines and sines of one position, HeadDim/2 each. The
// angle itself is rounded to float32, again as transformers does.
func angles(cos, sin, frequencies []float32, position int) {
	for i, f := range frequencies {
		s, c := math.Sincos(float64(float32(position) * f))
		cos[i], sin[i] = float32(c), float32(s)
	}
}
