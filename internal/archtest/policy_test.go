package archtest

// The policy, in the notation of the standard library's own (go/build,
// deps_test.go):
//
//	a, b < c, d    c and d may import a and b
//	a, b !< c, d   neither c nor d imports a or b, not even through others
//
// p/... is p and every package below it, NONE is no package. Test files may
// import what they like. Changing the policy is changing the design.

// ours says who imports which package of this module: nothing that is not
// listed here.
const ours = `
	# What stands alone.
	NONE
	< internal/cpu, internal/tile, internal/half, internal/atomicfile, decode/vvc,
	  model, model/kv, model/token, model/chat,
	  weights,
	  runtime/budget, runtime/sched, internal/promtext,
	  internal/builtin, internal/hub, bench/clients, internal/archtest, e2e/soak;

	# What computes: bits in, numbers out.
	internal/cpu < internal/kern, internal/cpu/cputest, internal/crc32c, runtime/arena;
	internal/kern < lowrank;
	internal/cpu, internal/tile < decode/rans;
	internal/tile, decode/rans, decode/vvc < decode/planes;
	internal/kern, internal/tile, decode/rans, decode/planes < decode;

	# What stores: files, names, checksums.
	internal/atomicfile, internal/crc32c < weights;
	internal/half < weights/gguf, weights/safetensors;
	weights < loader, weights/weightstest;

	# What knows time and memory. It owns the interfaces to both sides.
	runtime/budget < runtime/arena, runtime/plan;
	runtime/budget, runtime/arena, runtime/plan < runtime/residency;

	# What knows models.
	model, internal/kern < model/sample;
	model, model/kv, internal/kern < model/llama;
	internal/kern < internal/eval;

	# Source checkpoints, and making a .lamina file from one. Offline, so it
	# may see both what is stored and what it means.
	internal/kern, weights/gguf, weights/safetensors, model, model/llama, model/token < internal/source;
	internal/tile, decode/rans < pack/quant;
	NONE < pack/calib;
	internal/kern, model < pack/product;
	internal/kern, model, model/llama, pack/product < pack/fisher;
	internal/kern, model, model/llama, pack/fisher, pack/product < pack/tune;
	internal/kern, model, model/kv, model/llama, pack/product < pack/selftext;
	NONE < pack/affine;
	internal/atomicfile, internal/kern, internal/tile, decode, decode/rans, decode/planes, decode/vvc, lowrank, weights, internal/source,
	model, model/kv, model/llama, pack/quant, pack/fisher, pack/tune, pack/selftext, pack/affine < pack;

	internal/tile, decode, decode/rans, decode/planes, weights, pack < pack/report;

	# Measurements of the codec alone.
	internal/cpu, internal/tile, decode/rans, pack/quant < internal/codecbench;

	# What low rank does to a model, in float32.
	internal/kern, internal/source, internal/eval, lowrank, model, model/kv, model/llama, pack, runtime/sched
	< internal/lowrankbench;

	# Codecs against each other, on a whole model; those of other programs.
	NONE < internal/extcodec;
	decode/planes, decode/rans, decode/vvc, internal/extcodec, internal/source, internal/eval,
	model/kv, model/llama, pack, runtime/sched < internal/codecs;

	# Requests come in. The server knows requests and events, no weights.
	model, internal/promtext < server;
	model, server < server/servertest;

	# The wiring: the one place at run time that sees both sides.
	internal/cpu, internal/crc32c, internal/kern, internal/tile, decode, decode/rans, decode/planes, lowrank,
	internal/atomicfile, weights, loader, internal/source, internal/promtext,
	model, model/kv, model/token, model/chat, model/sample, model/llama,
	runtime/budget, runtime/arena, runtime/plan, runtime/residency, runtime/sched
	< internal/engine;

	# Programs.
	internal/atomicfile < bench/plot, bench/randomgguf;
	internal/atomicfile, internal/builtin, internal/codecbench, internal/codecs, internal/extcodec, internal/lowrankbench, internal/cpu, internal/engine, internal/eval, internal/hub, internal/kern, internal/source,
	decode, decode/rans, decode/planes, decode/vvc, weights, loader, pack, pack/calib, pack/report, server,
	model, model/llama, model/token, model/chat, model/sample, runtime/budget, runtime/plan
	< cmd/lamina;
	server, server/servertest < e2e/fakeserver;

	# And whatever the lines above come to allow one day:
	decode/..., lowrank, model/..., runtime/..., server/... !< weights/..., loader;
	weights/..., loader, model/..., runtime/..., server/... !< decode/..., lowrank, internal/kern, internal/tile;
	weights/..., loader, decode/..., model/..., server/... !< runtime/...;
	weights/..., loader, decode/..., lowrank, runtime/..., pack/... !< server/...;
	internal/cpu/..., internal/tile, internal/kern, internal/source, internal/eval, internal/builtin, internal/hub, internal/extcodec,
	internal/codecs, internal/codecbench, internal/lowrankbench !< server/...;
	server/... !< internal/engine, pack/...;
`

// outside says who imports packages of others. Those of the standard library
// are free for all unless they are named here; modules must be named.
const outside = `
	# What computes does no I/O, takes no locks, waits for nobody, has no clock.
	bufio, context, io/..., log/..., net/..., os/..., sync/..., syscall, time
	!< decode/..., lowrank, internal/kern, internal/tile;

	# Plans are pure; models know no files and no network.
	io/..., log/..., net/..., os/..., sync/..., time !< runtime/plan;
	log/..., net/..., os/... !< model/...;

	# The network: the server's sockets, one client, and the soak test's.
	net < server, cmd/lamina, e2e/fakeserver;
	net/url < server, internal/hub, cmd/lamina;
	net/http < internal/hub, e2e/soak, bench/clients;

	# One static binary that starts no other program, but for the comparison with
	# other codecs.
	C, plugin, net/http/pprof, expvar < NONE;
	os/exec < internal/extcodec;
	internal/extcodec, internal/codecs !< decode/..., lowrank, weights/..., loader, model/..., runtime/..., server/..., pack/..., internal/engine;

	# Modules, each in its place.
	github.com/klauspost/cpuid/v2 < internal/cpu;
	github.com/valyala/fasthttp < server;
	github.com/prometheus/client_golang/prometheus/... < server, internal/engine, internal/promtext;
	github.com/prometheus/client_model/go < internal/promtext;
	github.com/gpustack/gguf-parser-go < weights/gguf;
	github.com/nikolalohinski/gonja/v2/... < model/chat;
	golang.org/x/text/... < model/token;
	gonum.org/v1/gonum/... < lowrank, pack/affine;
	gonum.org/v1/plot/... < pack/report, bench/plot;
	github.com/alecthomas/kong, github.com/vbauerster/mpb/v8/... < cmd/lamina;
	golang.org/x/sync/errgroup < runtime/residency, internal/engine, internal/codecbench, internal/codecs, internal/lowrankbench, pack, server, cmd/lamina;
	golang.org/x/sync/semaphore < pack;
	golang.org/x/sys/unix, golang.org/x/sys/windows
	< weights, runtime/arena, runtime/budget, internal/hub, server, cmd/lamina;
`
