// Package chat renders the chat template of a checkpoint: the Jinja program
// that turns a list of messages into the prompt that the model was trained on.
// Output equals that of the Hugging Face transformers library, whose jinja2
// settings (trim_blocks, lstrip_blocks), functions (raise_exception,
// strftime_now) and filters (tojson) it follows.
//
// Templates come from untrusted files. They see no files and no other
// templates; source, steps, running time, nesting, strings and output are
// bounded. The interpreter is gonja, which does not tell an undefined variable
// from none; a template that depends on the difference is outside its reach.
//
// A [Template] is safe for concurrent use.
package chat
