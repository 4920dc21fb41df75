package extcodec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ways of using a video codec: every picture alone; each predicted from those
// before it; and from both sides.
const (
	Intra        = "all-intra"
	LowDelay     = "low-delay"
	RandomAccess = "random-access"
)

// ffmpegCodec is a codec of ffmpeg.
type ffmpegCodec struct {
	name, profile, encoder string
	knob                   string
	settings               []float64
	file                   string // pattern of the coded files
	pixels                 string // pixel format without conversion of luma
	args                   func(setting string) []string
}

// gop returns ffmpeg's options for a way of predicting.
func gop(profile string) []string {
	switch profile {
	case LowDelay:
		return []string{"-g", "9999", "-bf", "0"}
	case RandomAccess:
		return []string{"-g", "9999", "-bf", "3"}
	}
	return []string{"-g", "1", "-bf", "0"}
}

// videoQP returns the settings of H.264 and HEVC. What is predicted from other
// pictures is quantised more coarsely than the QP says.
func videoQP(profile string) []float64 {
	if profile == Intra {
		return []float64{36, 32, 27}
	}
	return []float64{33, 29, 24}
}

// ffmpegCodecs lists those that the ffmpeg at path has. Rate control, adaptive
// quantisation and tuning for eyes are off: squared error counts.
func ffmpegCodecs(ctx context.Context, path string) []Codec {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-hide_banner", "-encoders").Output()
	if err != nil {
		return nil
	}
	var have []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 {
			have = append(have, f[1])
		}
	}
	var all []ffmpegCodec
	for _, profile := range []string{Intra, LowDelay, RandomAccess} {
		all = append(all, ffmpegCodec{name: "H.264", profile: profile, encoder: "libx264", knob: "qp", settings: videoQP(profile),
			file: "out.h264", pixels: "yuv420p", args: func(s string) []string {
				return append(gop(profile), "-preset", "medium", "-tune", "psnr", "-qp", s, "-x264-params", "aq-mode=0:psy=0:scenecut=0")
			}})
	}
	for _, profile := range []string{Intra, LowDelay, RandomAccess} {
		all = append(all, ffmpegCodec{name: "HEVC", profile: profile, encoder: "libx265", knob: "qp", settings: videoQP(profile),
			file: "out.hevc", pixels: "yuv420p", args: func(s string) []string {
				return append(gop(profile), "-preset", "medium", "-tune", "psnr", "-x265-params",
					"log-level=error:info=0:qp="+s+":aq-mode=0:psy-rd=0:psy-rdoq=0:scenecut=0:open-gop=0")
			}})
	}
	all = append(all,
		ffmpegCodec{name: "AV1", profile: Intra, encoder: "libaom-av1", knob: "crf", settings: []float64{35, 27, 18},
			file: "out.ivf", pixels: "yuv420p", args: func(s string) []string {
				return []string{"-g", "0", "-usage", "allintra", "-cpu-used", "6", "-crf", s, "-b:v", "0", "-row-mt", "1", "-aq-mode", "0", "-tune", "psnr"}
			}},
		ffmpegCodec{name: "AV1", profile: RandomAccess, encoder: "libsvtav1", knob: "qp", settings: []float64{42, 34, 26},
			file: "out.ivf", pixels: "yuv420p", args: func(s string) []string {
				return []string{"-preset", "8", "-qp", s}
			}},
		ffmpegCodec{name: "JPEG", profile: "pictures", encoder: "mjpeg", knob: "q", settings: []float64{9, 5, 2},
			file: "out.mjpeg", pixels: "yuvj420p", args: func(s string) []string { return []string{"-q:v", s, "-huffman", "optimal"} }},
		ffmpegCodec{name: "WebP", profile: "pictures", encoder: "libwebp", knob: "quality", settings: []float64{25, 65, 85},
			file: "out%05d.webp", pixels: "yuv420p", args: func(s string) []string {
				return []string{"-lossless", "0", "-compression_level", "6", "-quality", s}
			}})
	var list []Codec
	for _, c := range all {
		if slices.Contains(have, c.encoder) {
			list = append(list, Codec{Name: c.name, Profile: c.profile, Program: "ffmpeg " + c.encoder, Settings: c.settings, Knob: c.knob,
				code: func(ctx context.Context, dir string, f *Frames, setting float64) (*Result, error) {
					return c.code(ctx, path, dir, f, setting)
				}})
		}
	}
	return list
}

// code runs ffmpeg twice. Samples go in and come out as the luma of 4:2:0 with
// constant chroma: no conversion touches them.
func (c *ffmpegCodec) code(ctx context.Context, path, dir string, f *Frames, setting float64) (r *Result, err error) {
	if err := os.WriteFile(filepath.Join(dir, "in.yuv"), withChroma(f), 0o600); err != nil {
		return nil, err
	}
	r = &Result{}
	quiet := []string{"-hide_banner", "-loglevel", "error", "-nostdin", "-y"}
	raw := []string{"-f", "rawvideo", "-pix_fmt", c.pixels, "-s", fmt.Sprintf("%dx%d", f.Width, f.Height), "-r", "25"}
	args := slices.Concat(quiet, raw, []string{"-i", "in.yuv", "-c:v", c.encoder, "-pix_fmt", c.pixels},
		c.args(strconv.FormatFloat(setting, 'g', -1, 64)), []string{"-fps_mode", "passthrough", c.file})
	if r.Encode, err = run(ctx, dir, path, args...); err != nil {
		return nil, err
	}
	if r.Bytes, err = size(dir, strings.Replace(c.file, "%05d", "*", 1)); err != nil {
		return nil, err
	}
	args = slices.Concat(quiet, []string{"-i", c.file, "-f", "rawvideo", "-pix_fmt", c.pixels, "-fps_mode", "passthrough", "out.yuv"})
	if r.Decode, err = run(ctx, dir, path, args...); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "out.yuv"))
	if err != nil {
		return nil, err
	}
	r.Samples = withoutChroma(data, f.Width*f.Height)
	return r, nil
}

// withChroma appends constant chroma of 4:2:0 to every plane.
func withChroma(f *Frames) []byte {
	n := f.Width * f.Height
	grey := bytes.Repeat([]byte{128}, n/2)
	out := make([]byte, 0, len(f.Samples)*3/2)
	for at := 0; at < len(f.Samples); at += n {
		out = append(append(out, f.Samples[at:at+n]...), grey...)
	}
	return out
}

// withoutChroma undoes withChroma; luma planes have n samples.
func withoutChroma(data []byte, n int) []byte {
	out := make([]byte, 0, len(data)*2/3)
	for ; len(data) >= n+n/2; data = data[n+n/2:] {
		out = append(out, data[:n]...)
	}
	return out
}
