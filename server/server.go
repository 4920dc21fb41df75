package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lamina-llm/lamina/model"
)

// modelPath is the prefix of the one route with a parameter.
const modelPath = "/v1/models/"

// lastWrite is how long the last bytes of answers may take once a shutdown has
// run out of patience.
const lastWrite = 2 * time.Second

// Server serves one model. Make it with [New].
type Server struct {
	o        Options
	gen      Generator
	text     Text
	template Templater
	log      *slog.Logger
	m        *metrics
	now      func() time.Time
	keys     [][sha256.Size]byte
	routes   map[string]route
	paths    []string // "METHOD path" of every route, sorted
	http     *fasthttp.Server

	base   context.Context // parent of every generation
	cancel context.CancelCauseFunc

	answers atomic.Int64 // bytes of whole answers in the making; see Options.MaxAnswers

	mu       sync.Mutex
	drain    bool
	inflight sync.WaitGroup // no Add once drain is set
	conns    map[net.Conn]struct{}

	listeners []net.Listener
}

// route is what one path does.
type route struct {
	method string // GET includes HEAD
	open   bool   // no key needed
	handle fasthttp.RequestHandler
}

// New makes a server. template may be nil for a model without one: chat then
// answers 400. Nothing is started.
func New(gen Generator, text Text, template Templater, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, gen: gen, text: text, template: template, log: o.Logger,
		m: newMetrics(), now: time.Now, conns: map[net.Conn]struct{}{},
	}
	for _, k := range o.Keys {
		s.keys = append(s.keys, sha256.Sum256([]byte(k)))
	}
	s.base, s.cancel = context.WithCancelCause(context.Background())
	s.routes = map[string]route{
		"/":                    {"GET", true, s.handleIndex},
		"/health":              {"GET", true, s.handleHealth},
		"/healthz":             {"GET", true, s.handleHealth},
		"/readyz":              {"GET", true, s.handleReady},
		"/metrics":             {"GET", false, s.handleMetrics},
		"/tokenize":            {"POST", false, s.handleTokenize},
		"/detokenize":          {"POST", false, s.handleDetokenize},
		"/v1/models":           {"GET", false, s.handleModels},
		modelPath + "{id}":     {"GET", false, s.handleModel},
		"/v1/completions":      {"POST", false, s.handleGenerate(s.parseCompletion)},
		"/v1/chat/completions": {"POST", false, s.handleGenerate(s.parseChat)},
	}
	if o.Plan != nil {
		s.routes["/v1/lamina/plan"] = route{"GET", false, s.handlePlan}
	}
	for _, path := range slices.Sorted(maps.Keys(s.routes)) {
		s.paths = append(s.paths, fmt.Sprintf("%-4s %s", s.routes[path].method, path))
	}
	s.http = &fasthttp.Server{
		Name:         "lamina",
		Handler:      s.handle,
		ErrorHandler: s.protocolError,
		ConnState:    s.connState,
		Logger:       quietLogger{s.log},

		Concurrency:        2 * o.MaxConns, // never reached: limitedListener refuses earlier
		MaxRequestBodySize: o.MaxBody,
		ReadBufferSize:     16 << 10, // bounds the headers too
		ReadTimeout:        o.ReadTimeout,
		IdleTimeout:        o.IdleTimeout,
		WriteTimeout:       o.WriteTimeout, // streams renew it at every chunk

		TCPKeepalive:                 true,
		CloseOnShutdown:              true,
		ReduceMemoryUsage:            true,
		DisablePreParseMultipartForm: true,
	}
	return s, nil
}

// Serve answers connections of ln until Shutdown, and returns nil then. The
// listener may speak TLS.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	closed := s.drain
	s.listeners = append(s.listeners, ln)
	s.mu.Unlock()
	if closed {
		return ln.Close()
	}
	if err := s.http.Serve(timed(limitedListener{ln, s}, s.log)); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// Shutdown drains: readiness ends and new generations are refused at once,
// running ones go on until they finish or ctx ends; those left are cancelled,
// which takes the generator one step. Then the listener and all connections
// are closed. It returns ctx's error if work had to be cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.drain = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		s.inflight.Wait()
		close(idle)
	}()
	var cut error
	select {
	case <-idle:
	case <-ctx.Done():
		cut = context.Cause(ctx)
		s.cancel(model.ErrClosed)
		s.expireWrites()
		<-idle
	}
	s.cancel(model.ErrClosed)
	// What remains is the last bytes of answers and idle connections.
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer stop()
	if err := s.http.ShutdownWithContext(last); err != nil {
		s.closeAll()
	}
	s.closeListeners()
	return cut
}

// begin takes a place in flight; end gives it back.
func (s *Server) begin() (end func(), e *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain {
		return nil, toAPI(model.ErrClosed)
	}
	s.inflight.Add(1)
	s.m.inflight.Inc()
	return func() {
		s.m.inflight.Dec()
		s.inflight.Done()
	}, nil
}

func (s *Server) draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drain
}

// connState keeps the set of open connections, for a shutdown that must end.
func (s *Server) connState(c net.Conn, state fasthttp.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case fasthttp.StateNew:
		s.conns[c] = struct{}{}
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		delete(s.conns, c)
	}
}

// expireWrites gives writes that are stuck on slow clients their last chance.
func (s *Server) expireWrites() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.SetWriteDeadline(time.Now().Add(lastWrite)) // a closed one does not matter
	}
}

// closeAll closes the connections that outlived a shutdown.
func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// closeListeners closes those too that fasthttp has not seen yet because
// Serve was only just called. Closing twice is harmless.
func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.listeners {
		ln.Close()
	}
}

// handle is every request's way through the server.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	start := s.now()
	id := s.identify(ctx)
	name := "none"
	defer func() {
		if r := recover(); r != nil {
			s.m.panics.Inc()
			s.log.Error("panic in handler", "id", id, "panic", r, "stack", string(debug.Stack()))
			ctx.Response.ResetBody()
			fail(ctx, toAPI(fmt.Errorf("server: panic: %v", r)))
		}
		code := ctx.Response.StatusCode()
		s.m.requests.inc(name, code)
		s.log.Debug("request", "id", id, "method", string(ctx.Method()), "path", string(ctx.Path()),
			"status", code, "took", s.now().Sub(start))
	}()
	s.cors(ctx)
	path := string(ctx.Path())
	if len(path) > 1 {
		path = strings.TrimRight(path, "/")
	}
	if strings.HasPrefix(path, modelPath) {
		path = modelPath + "{id}"
	}
	r, ok := s.routes[path]
	if !ok {
		fail(ctx, newError(fasthttp.StatusNotFound, typeInvalid, "not_found", "There is nothing at %s; GET / lists what there is.", ctx.Path()))
		return
	}
	name = path
	allow := r.method + ", OPTIONS"
	if r.method == "GET" {
		allow = "GET, HEAD, OPTIONS"
	}
	switch method := string(ctx.Method()); {
	case method == "OPTIONS":
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	case method != r.method && !(method == "HEAD" && r.method == "GET"):
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
		fail(ctx, newError(fasthttp.StatusMethodNotAllowed, typeInvalid, "method_not_allowed",
			"%s is not allowed here, only %s.", method, allow))
	case !r.open && !s.authorised(ctx):
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		fail(ctx, newError(fasthttp.StatusUnauthorized, typeInvalid, "invalid_api_key",
			"A valid API key is required, as \"Authorization: Bearer KEY\"."))
	case r.method == "POST" && !plainBody(ctx):
		fail(ctx, newError(fasthttp.StatusUnsupportedMediaType, typeInvalid, "unsupported_encoding",
			"Request bodies are read as they are, without Content-Encoding %q.", ctx.Request.Header.ContentEncoding()))
	default:
		r.handle(ctx)
	}
}

// plainBody says whether a request's body is not compressed.
func plainBody(ctx *fasthttp.RequestCtx) bool {
	e := string(ctx.Request.Header.ContentEncoding())
	return e == "" || strings.EqualFold(e, "identity")
}

// identify gives the response its x-request-id: the client's own if it is
// short and plain, else a new one.
func (s *Server) identify(ctx *fasthttp.RequestCtx) string {
	id := string(ctx.Request.Header.Peek("x-request-id"))
	plain := func(r rune) bool { return r > ' ' && r < 0x7f }
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return !plain(r) }) {
		id = "req_" + randomHex()
	}
	ctx.Response.Header.Set("x-request-id", id)
	return id
}

func requestID(ctx *fasthttp.RequestCtx) string {
	return string(ctx.Response.Header.Peek("x-request-id"))
}

// authorised checks the key. Digests of equal length are compared, all of
// them, in constant time.
func (s *Server) authorised(ctx *fasthttp.RequestCtx) bool {
	if len(s.keys) == 0 {
		return true
	}
	given := string(ctx.Request.Header.Peek("X-Api-Key"))
	if scheme, key, ok := strings.Cut(string(ctx.Request.Header.Peek("Authorization")), " "); ok && strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimSpace(key)
	}
	digest, match := sha256.Sum256([]byte(given)), 0
	for _, k := range s.keys {
		match |= subtle.ConstantTimeCompare(digest[:], k[:])
	}
	return match == 1
}

// corsHeaders are those that browsers may send; the official JavaScript client
// adds its own.
const corsHeaders = "Authorization, Content-Type, Accept, User-Agent, X-Requested-With, X-Api-Key, X-Request-Id, " +
	"OpenAI-Organization, OpenAI-Project, OpenAI-Beta, Idempotency-Key, " +
	"x-stainless-arch, x-stainless-async, x-stainless-custom-poll-interval, x-stainless-helper-method, x-stainless-lang, " +
	"x-stainless-os, x-stainless-package-version, x-stainless-poll-helper, x-stainless-retry-count, " +
	"x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout"

// cors adds the headers that let pages of allowed origins read the answer.
func (s *Server) cors(ctx *fasthttp.RequestCtx) {
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if origin == "" || len(s.o.CORSOrigins) == 0 {
		return
	}
	h := &ctx.Response.Header
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	switch {
	case slices.Contains(s.o.CORSOrigins, "*"):
		origin = "*"
	case !slices.Contains(s.o.CORSOrigins, origin):
		return
	}
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, "x-request-id, retry-after")
	if ctx.IsOptions() {
		h.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, POST, OPTIONS")
		h.Set(fasthttp.HeaderAccessControlAllowHeaders, corsHeaders)
		h.Set(fasthttp.HeaderAccessControlMaxAge, "600")
	}
}

// quietLogger passes fasthttp's complaints about connections to the debug log.
type quietLogger struct{ log *slog.Logger }

// Printf implements fasthttp.Logger.
func (l quietLogger) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
