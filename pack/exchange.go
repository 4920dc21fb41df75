package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/vvc"
	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/internal/source"
)

// ManifestName is the file that describes exported planes.
const ManifestName = "planes.json"

// manifestFormat names the version of a manifest.
const manifestFormat = "lamina planes 1"

// maxManifest bounds a manifest that is read, in bytes.
const maxManifest = 64 << 20

// Manifest lists the planes of a model for encoders outside: raw video of 8 bits,
// luma alone, all frames of a file of one size.
type Manifest struct {
	Format string          `json:"format"`
	Source string          `json:"source"`
	Planes []ManifestEntry `json:"planes"` // in the order of a packed file
}

// ManifestEntry is one matrix.
type ManifestEntry struct {
	Name      string  `json:"name"`
	Rows      int     `json:"rows"`
	Cols      int     `json:"cols"`
	Band      int     `json:"band"`      // rows of a frame
	Deviation float64 `json:"deviation"` // samples that a row's root mean square became
	File      string  `json:"file"`      // raw frames
	Stream    string  `json:"stream"`    // where an H.266 stream of them is looked for
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Frames    int     `json:"frames"`
	QP        int     `json:"qp"` // that the QP of the layers means for this matrix
}

// ExportPlanes writes every matrix of src as raw frames into the folder dir,
// which it makes, and the manifest last. o has Codec VVC and a QP, which tells the
// proportions of the matrices' QPs. Every file is there whole or not at all; after an
// error nothing stays, and what a crash leaves has no manifest and is written over.
func ExportPlanes(ctx context.Context, src *source.Source, dir string, o Options) (list *Manifest, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.QP == nil {
		return nil, errors.New("pack: exporting planes needs a QP")
	}
	p, err := newPacker(src, o)
	if err != nil {
		return nil, err
	}
	if err := p.scan(ctx); err != nil {
		return nil, err
	}
	made := os.Mkdir(dir, 0o755)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return nil, fmt.Errorf("pack: %w", made)
	}
	path := filepath.Join(dir, ManifestName)
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("pack: %s already holds exported planes", dir)
	}
	m := &Manifest{Format: manifestFormat, Source: src.Name()}
	defer func() {
		if err == nil {
			return
		}
		for _, e := range m.Planes {
			os.Remove(filepath.Join(dir, e.File))
		}
		if made == nil {
			os.Remove(dir)
		}
	}()
	done := int64(0)
	for _, mat := range p.mats {
		e := ManifestEntry{Name: mat.name, Rows: mat.rows, Cols: mat.cols, Band: mat.band, Frames: mat.chunks(),
			File: mat.name + ".yuv", Stream: mat.name + ".266"}
		e.Width, e.Height = planes.PictureSize(mat.band, mat.cols)
		e.QP, e.Deviation = mat.pictures.quality(mat.step(QPStep(*o.QP)))
		err := atomicfile.Write(filepath.Join(dir, e.File), 0o644, func(w io.Writer) error { return p.exportMatrix(ctx, w, mat, &e) })
		if err != nil {
			return nil, fmt.Errorf("pack: %s: %w", mat.name, err)
		}
		m.Planes = append(m.Planes, e)
		done += mat.weights()
		p.opt.Progress(Progress{"export", mat.name, done, p.matrixWeights()})
	}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	err = atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return m, nil
}

// exportMatrix writes the frames of m.
func (p *packer) exportMatrix(ctx context.Context, w io.Writer, m *matrix, e *ManifestEntry) error {
	row := m.row
	row.Base = float32(float64(m.row.Base) / e.Deviation)
	var frame []byte
	for band := range e.Frames {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		values, err := p.readBand(m, band)
		if err != nil {
			return err
		}
		samples, _, _ := m.picture(band, &row, values)
		frame = frame[:0]
		for _, v := range samples {
			frame = append(frame, byte(v))
		}
		if _, err := w.Write(frame); err != nil {
			return err
		}
	}
	return nil
}

// Import names pictures that were coded elsewhere from exported planes.
type Import struct {
	// Path is the folder of the planes, with a stream for every matrix as its
	// manifest names them; or one file of all streams one after another, beside
	// the manifest.
	Path string
}

// importedPlanes are the streams of an Import.
type importedPlanes struct {
	dir     string // of streams; "" if they are in one file
	entries map[string]*importedEntry
}

type importedEntry struct {
	ManifestEntry
	streams [][]byte // of one picture each
}

// open reads the manifest and fits mats to it.
func (i *Import) open(mats []*matrix) (*importedPlanes, error) {
	st, err := os.Stat(i.Path)
	if err != nil {
		return nil, fmt.Errorf("pack: import: %w", err)
	}
	ip := &importedPlanes{entries: map[string]*importedEntry{}}
	manifest := filepath.Join(filepath.Dir(i.Path), ManifestName)
	if st.IsDir() {
		ip.dir, manifest = i.Path, filepath.Join(i.Path, ManifestName)
	}
	list, err := readManifest(manifest)
	if err != nil {
		return nil, fmt.Errorf("pack: import: %w", err)
	}
	for k := range list.Planes {
		e := &list.Planes[k]
		ip.entries[e.Name] = &importedEntry{ManifestEntry: *e}
	}
	for _, m := range mats {
		e := ip.entries[m.name]
		if e == nil {
			return nil, fmt.Errorf("pack: import: %s lists no matrix %s", manifest, m.name)
		}
		if err := e.fit(m); err != nil {
			return nil, fmt.Errorf("pack: import: %s: %s: %w", manifest, m.name, err)
		}
	}
	if ip.dir != "" {
		return ip, nil
	}
	data, err := os.ReadFile(i.Path)
	if err != nil {
		return nil, fmt.Errorf("pack: import: %w", err)
	}
	pictures, err := vvc.Segments(data)
	if err != nil {
		return nil, fmt.Errorf("pack: import: %s: %w", i.Path, err)
	}
	want := 0
	for _, e := range list.Planes {
		want += e.Frames
	}
	if len(pictures) != want {
		return nil, fmt.Errorf("pack: import: %s: %w", i.Path, pictureCount(len(pictures), want))
	}
	for _, e := range list.Planes {
		ip.entries[e.Name].streams, pictures = pictures[:e.Frames], pictures[e.Frames:]
	}
	return ip, nil
}

func pictureCount(got, want int) error {
	return fmt.Errorf("%d pictures that decode alone, want %d (encode all-intra, each picture a random access point)", got, want)
}

// readManifest reads the file of that name.
func readManifest(path string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("%s: format %q, want %q", path, m.Format, manifestFormat)
	}
	return m, nil
}

// fit checks that e describes m and cuts m as e says.
func (e *importedEntry) fit(m *matrix) error {
	w, h := planes.PictureSize(e.Band, e.Cols)
	switch {
	case e.Rows != m.rows || e.Cols != m.cols:
		return fmt.Errorf("%d x %d, the model has %d x %d", e.Rows, e.Cols, m.rows, m.cols)
	case e.Band < 1 || e.Band > planes.MaxCells || e.Band < m.rows && e.Band%16 != 0:
		return fmt.Errorf("frames of %d rows", e.Band)
	case e.Frames != (m.rows+e.Band-1)/e.Band || e.Width != w || e.Height != h:
		return fmt.Errorf("%d frames of %d x %d, want %d of %d x %d", e.Frames, e.Width, e.Height, (m.rows+e.Band-1)/e.Band, w, h)
	case !(e.Deviation >= 1 && e.Deviation <= 64):
		return fmt.Errorf("deviation %v", e.Deviation)
	}
	m.band = e.Band
	return nil
}

// find returns the pictures of m.
func (ip *importedPlanes) find(m *matrix) (*importedEntry, error) {
	e := ip.entries[m.name]
	if ip.dir == "" {
		return e, nil
	}
	if filepath.Base(e.Stream) != e.Stream || strings.HasPrefix(e.Stream, ".") {
		return nil, fmt.Errorf("stream %q is not a file name", e.Stream)
	}
	data, err := os.ReadFile(filepath.Join(ip.dir, e.Stream))
	if err != nil {
		return nil, err
	}
	pictures, err := vvc.Segments(data)
	if err == nil && len(pictures) != e.Frames {
		err = pictureCount(len(pictures), e.Frames)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Stream, err)
	}
	e = &importedEntry{ManifestEntry: e.ManifestEntry, streams: pictures}
	return e, nil
}
