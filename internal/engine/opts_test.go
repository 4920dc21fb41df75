package engine_test

import "github.com/lamina-llm/lamina/model/token"

var encodeOptions = token.EncodeOptions{AddSpecial: true}
