package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/chat"
	"github.com/lamina-llm/lamina/model/token"
)

// readText reads tokenizer, chat template and sampling defaults.
func (m *Model) readText(f *loader.Model, log *slog.Logger) error {
	data, err := f.Section("tokenizer")
	if err != nil {
		return err
	}
	if m.tok, err = token.Unmarshal(data); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	tmpl, err := f.Section("chat_template")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.sampling = model.DefaultSampling()
	gen, err := f.Section("generation")
	if err == nil {
		err = json.Unmarshal(gen, &m.sampling)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: generation defaults: %w", f.Name(), err)
	}
	return m.setTemplate(string(tmpl), log)
}

func (m *Model) setTemplate(text string, log *slog.Logger) (err error) {
	if text == "" {
		return nil
	}
	spell := func(id int32) string {
		if id < 0 {
			return ""
		}
		return m.tok.Text(id)
	}
	m.template, err = chat.New(text, chat.Vars{BOS: spell(m.tok.BOS()), EOS: spell(m.tok.EOS())})
	if errors.Is(err, chat.ErrInvalid) {
		log.Warn("the model's chat template is not usable, completions are", "error", err)
		return nil
	}
	return err
}
