package server

import "github.com/lamina-llm/lamina/model"

// Parse runs a decoder without a connection, for fuzzing: the jobs, or the
// error's status and body.
func (s *Server) Parse(chat bool, body []byte) (jobs []model.Request, status int, errBody []byte) {
	parse := s.parseCompletion
	if chat {
		parse = s.parseChat
	}
	c, e := parse(body)
	if e != nil {
		return nil, e.status, e.body()
	}
	return c.jobs, 0, nil
}
