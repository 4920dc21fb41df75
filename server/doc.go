// Package server is Lamina's HTTP face: the OpenAI-style API, health, metrics
// and nothing else, on fasthttp.
//
// It turns JSON into [model.Request] values, hands them to a [Generator] and
// turns the events back into JSON or server-sent events. It knows no weights,
// no cache and no scheduling: admission and batching belong to the generator,
// which answers model.ErrBusy, model.ErrMemory or model.ErrClosed when it must.
//
// Cancellation. fasthttp has no per-request context, so every generation
// request has its own: it ends when the client goes away (a watcher looks at
// the socket four times a second), when a write does not finish in time, when
// the request's time is up, or when a shutdown runs out of patience. The
// generator sees it as an ordinary context.
//
// Ownership. A handler copies what it needs from the fasthttp context before
// it returns; a stream's body reader runs on the connection's own goroutine
// and owns its generators until Close has waited for them.
//
// Concurrency. A Server is safe for concurrent use; so must be what it is
// given.
package server
