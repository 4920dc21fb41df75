package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lamina-llm/lamina/model"
)

const chatHelp = `  /set NAME VALUE  change a sampling parameter, or the system message (/set system TEXT)
  /show            print the parameters
  /clear           forget the conversation
  /bye             leave; so does Ctrl-D
  """              begin and end a message of several lines
  Ctrl-C           stop the answer; at the prompt, leave
`

// loop is the chat at a terminal.
func (s *session) loop() error {
	a := s.app
	what := "chat"
	if s.plain {
		what = "text completion"
	}
	a.printf("%s, %s, context %d. /help lists the commands.\n", modelID(s.model.Name()), what, s.model.Context())
	in := newLineReader(a.in)
	defer close(in.want)
	for {
		message, ok := s.read(in)
		if !ok {
			a.printf("\n")
			return nil
		}
		if strings.HasPrefix(message, "/") {
			if leave := s.command(message); leave {
				return nil
			}
			continue
		}
		if strings.TrimSpace(message) == "" {
			continue
		}
		if err := s.turn(message); err != nil {
			return err
		}
	}
}

// turn answers one message. Errors that another message can avoid are printed;
// others are returned.
func (s *session) turn(message string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan struct{})
	go func() { // a signal stops the answer, not the program
		defer close(done)
		select {
		case <-s.app.signals:
			stop()
		case <-ctx.Done():
		}
	}()
	_, last, err := s.answer(ctx, message, s.app.out)
	interrupted := ctx.Err() != nil
	stop()
	<-done
	switch {
	case interrupted:
		s.app.printf("[stopped]\n")
	case errors.Is(err, model.ErrContextLength):
		s.app.printf("[%v; /clear begins anew]\n", err)
	case errors.Is(err, model.ErrInvalid):
		s.app.printf("[%v]\n", err)
	case err != nil:
		return err
	case last.Finish == model.FinishLength:
		s.app.printf("[cut at the limit of tokens]\n")
	}
	return nil
}

// read returns the next message; ok is false at the end of input or when a
// signal came at the prompt.
func (s *session) read(in *lineReader) (message string, ok bool) {
	line, ok := s.line(in, ">>> ")
	if !ok || !strings.HasPrefix(strings.TrimSpace(line), `"""`) {
		return line, ok
	}
	rest := strings.TrimPrefix(strings.TrimSpace(line), `"""`)
	var lines []string
	for {
		if body, end := strings.CutSuffix(strings.TrimRight(rest, " \t"), `"""`); end {
			lines = append(lines, body)
			return strings.Trim(strings.Join(lines, "\n"), "\n"), true
		}
		lines = append(lines, rest)
		if rest, ok = s.line(in, "... "); !ok {
			return "", false
		}
	}
}

func (s *session) line(in *lineReader, prompt string) (string, bool) {
	s.app.printf("%s", prompt)
	in.want <- struct{}{}
	select {
	case l, ok := <-in.lines:
		return l, ok
	case <-s.app.signals:
		return "", false
	}
}

// command runs a line that begins with a slash; leave ends the chat.
func (s *session) command(line string) (leave bool) {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	switch name {
	case "/bye", "/exit", "/quit":
		return true
	case "/help", "/?":
		s.app.printf("%s", chatHelp)
	case "/clear":
		s.clear()
		s.app.printf("[the conversation is forgotten]\n")
	case "/show":
		p := s.sampling
		s.app.printf("temperature %v\ntop-p %v\ntop-k %d\nmin-p %v\nrepeat-penalty %v\npresence-penalty %v\nfrequency-penalty %v\nseed %d\nsystem %q\n",
			p.Temperature, p.TopP, p.TopK, p.MinP, p.RepeatPenalty, p.PresencePenalty, p.FrequencyPenalty, p.Seed, s.system)
	case "/set":
		if err := s.set(rest); err != nil {
			s.app.printf("[%v]\n", err)
		}
	default:
		s.app.printf("[%s is no command; /help lists them]\n", name)
	}
	return false
}

// set changes one setting.
func (s *session) set(rest string) error {
	name, value, ok := strings.Cut(rest, " ")
	value = strings.TrimSpace(value)
	switch {
	case name == "system" && s.plain:
		return errors.New("a text completion has no system message")
	case name == "system":
		s.system = value
		s.clear()
		s.app.printf("[set; the conversation begins anew]\n")
		return nil
	case !ok || value == "":
		return fmt.Errorf("usage: /set NAME VALUE (names: %s, system)", strings.Join(settable, ", "))
	}
	return setSampling(&s.sampling, name, value)
}

// lineReader reads lines when asked. A read from a terminal cannot be called
// off, so its goroutine may outlive the chat: it then waits in a read until the
// process ends, and takes nothing that nobody asked for.
type lineReader struct {
	want  chan struct{} // closed by the chat when it ends
	lines chan string   // closed at the end of input
}

func newLineReader(in io.Reader) *lineReader {
	r := &lineReader{want: make(chan struct{}, 1), lines: make(chan string, 1)}
	go func() {
		defer close(r.lines)
		b := bufio.NewReader(in)
		for range r.want {
			line, err := b.ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); err != nil && line == "" {
				return
			}
			r.lines <- line
		}
	}()
	return r
}
