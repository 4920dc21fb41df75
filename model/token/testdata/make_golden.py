#!/usr/bin/env python3
"""Makes the golden files of model/token with the reference libraries.

    pip install tokenizers sentencepiece gguf
    make_golden.py STORYTELLER_DIR SMOLLM2.gguf OUTPUT_DIR

Every file is gzipped JSON. strings.json.gz holds the texts; NAME.ids.json.gz
the ids that the reference gives for each text in order; NAME.tokenizer.* the
tokenizer itself. Ids of one text are delta-free plain lists.
"""
import gzip, json, os, random, sys, tempfile
import sentencepiece as spm
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

story, gguf_path, out = sys.argv[1:4]
rnd = random.Random(20240229)


def write(name, obj):
    raw = obj if isinstance(obj, bytes) else json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()
    with open(os.path.join(out, name), "wb") as f:
        f.write(gzip.compress(raw, 9, mtime=0))
    print(name, len(raw), os.path.getsize(os.path.join(out, name)))


# ---------------------------------------------------------------- texts
prose = open(os.path.join(story, "heldout.txt"), encoding="utf-8").read()
LANGS = [
    "Die Königin saß am Fenster und nähte; da stach sie sich in den Finger.",
    "Il était une fois une petite fille qu'on appelait l'Été, n'est-ce pas ?",
    "Жили-были старик со старухой у самого синего моря.",
    "Μια φορά κι έναν καιρό ήταν ένας βασιλιάς. ΣΊΣΥΦΟΣ",
    "昔々、あるところにおじいさんとおばあさんがいました。カタカナ、ひらがな。",
    "从前有一座山,山里有座庙。庙里有个老和尚１２３。",
    "옛날 옛적에 호랑이 담배 피우던 시절에",
    "กาลครั้งหนึ่งนานมาแล้ว มีเจ้าหญิงองค์หนึ่ง ๑๒๓๔",
    "كان يا ما كان في قديم الزمان ملكٌ عادلٌ ٤٥٦٧",
    "एक समय की बात है, एक राजा था। १२३४५",
    "היה היה פעם מלך אחד שָׁלוֹם",
    "Ngày xửa ngày xưa, có một nàng công chúa xinh đẹp.",
    "ერთხელ იყო და არა იყო რა", "ամեն ինչ լավ է", "በአንድ ወቅት አንድ ንጉሥ ነበረ",
]
CODE = [
    "func main() {\n\tfmt.Println(\"hi\")\n}\n", "if (x<=10&&y!=0x1F){ return -1; } // ok",
    "def f(a, *, b=None):\n    return [i**2 for i in range(10) if i % 3 == 0]\n",
    "SELECT * FROM t WHERE a='b''c' AND n>=1_000;\r\n", "<div class=\"a b\">&nbsp;</div>\n\n\n",
    "{\"k\": [1, 2.50, -3e-7, null, true]}", "#!/bin/sh\nset -eu\nls -la | awk '{print $1}'\n",
    "https://example.com/a/b?q=1&r=%20#frag", "C:\\dir\\file.txt\t\ttab", "\\(x^2 + y_{i,j}\\) $$\\alpha$$",
]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷🇯🇵", "❤️", "☃", "✊🏿", "🧑🏻‍🚀", "1️⃣", "🫠", "♀️", "\u200d", "\ufe0f"]
CONTR = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'Re", "'VE", "'lL", "'D", "'M", "’s", "'ſ", "'x", "''s", "'",
         "'re's", "'\u212a", "'ﬅ", "'st"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n\n", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\x0b", "\x0c",
          "\u200b", "\ufeff", "\u180e", "\x1c", "\x1f", " " * 17, "\t\t \t", " \u00a0 "]
SPECIAL = ["<s>", "</s>", "<unk>", "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_star",
           "<ud>", "[L]", "[R]", "[W]", "[LR]", "[N n]", "[P]", "<0x41>", "<|im_start|><|im_end|>", "<ud>x", "▁", "▁▁x", "<repo_name>", "<file_sep>"]
DIGITS = ["1", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "²", "½", "Ⅻ", "٣٤", "１２３", "x1y22z333", "𝟘𝟙", "1e10"]
COMB = ["e\u0301", "n\u0303o", "a\u0300\u0301\u0302", "\u0301x", "क्षि", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙", "한", "ﬁ", "ß", "İi̇", "ǅ", "ʰ"]
WORDS = [w for w in prose[:60000].split(" ") if w]


def rand_char():
    r = rnd.random()
    if r < .3: return chr(rnd.randrange(0x20, 0x7f))
    if r < .4: return chr(rnd.randrange(0, 0x20))
    if r < .6: return chr(rnd.randrange(0x80, 0x800))
    while True:
        c = rnd.randrange(0x800, 0x30000 if r < .95 else 0x110000)
        if not 0xd800 <= c < 0xe000: return chr(c)


def piece():
    k = rnd.randrange(12)
    if k <= 2: return " ".join(rnd.choice(WORDS) for _ in range(rnd.randrange(1, 4)))
    if k == 3:
        s = rnd.choice(LANGS); i = rnd.randrange(len(s)); return s[i:i + rnd.randrange(1, 12)]
    if k == 4:
        s = rnd.choice(CODE); i = rnd.randrange(len(s)); return s[i:i + rnd.randrange(1, 16)]
    if k == 5: return rnd.choice(EMOJI)
    if k == 6: return rnd.choice(["I", "it", "WE", "", "ü", "5"]) + rnd.choice(CONTR)
    if k == 7: return rnd.choice(SPACES)
    if k == 8: return rnd.choice(SPECIAL)
    if k == 9: return rnd.choice(DIGITS)
    if k == 10: return rnd.choice(COMB)
    return "".join(rand_char() for _ in range(rnd.randrange(1, 6)))


texts = ["", " ", "a", "ab", "a" * 300, "ab" * 200, " " * 100, "\n" * 64, "1" * 77, "é" * 90, "!" * 120, "😀" * 40, "▁" * 20, "the " * 50,
         "<|im_start|>" * 10, "\x00", "a\x00b", "\U0010ffff", "\ufffd\ufffd"]
texts += LANGS + CODE + EMOJI + CONTR + SPACES + SPECIAL + DIGITS + COMB
for s in SPECIAL:
    texts += ["x" + s, s + "x", " " + s + " ", "  " + s + "  y", s + s, "a " + s + "\n", "é" + s + "é", "_" + s + "_", "\u3000" + s + "\t"]
for c in CONTR:
    texts += ["don" + c + "x", c + c, " " + c, "\n" + c + " "]
for a in SPACES:
    for b in ("w", "1", "!", "é", "'s", "<s>"):
        texts += [a + b, b + a + b, b + a]
for p in prose[20000:].split("\n")[:150]:
    texts.append(p[:200])
while len(texts) < 5400:
    texts.append("".join(piece() + rnd.choice(["", "", " "]) for _ in range(rnd.randrange(1, 7))))
write("strings.json.gz", texts)
corpus = [p for p in prose.split("\n") if p][:900] + (LANGS + CODE + [" ".join(EMOJI)] + DIGITS + COMB) * 8


def ids_of(tok, special=True):
    return [tok.encode(t, add_special_tokens=special).ids for t in texts]


def plain(tok):
    """ids without parsing special tokens, for the texts where it matters"""
    tok.encode_special_tokens = True
    r = {str(i): tok.encode(t, add_special_tokens=False).ids for i, t in enumerate(texts) if any(s in t for s in "<[")}
    tok.encode_special_tokens = False
    return r


def decoded(tok, n_vocab):
    """random id lists and their text, so that invalid UTF-8 and special tokens occur"""
    r = random.Random(5)
    cases = []
    for i in range(400):
        ids = [r.randrange(n_vocab) if r.random() < .5 else r.randrange(min(n_vocab, 300)) for _ in range(r.randrange(1, 9))]
        cases.append([ids, tok.decode(ids, skip_special_tokens=False), tok.decode(ids, skip_special_tokens=True)])
    return cases


def golden(name, tok, with_json=True):
    write(name + ".ids.json.gz", {"ids": ids_of(tok), "plain": plain(tok), "decoded": decoded(tok, tok.get_vocab_size())})
    if with_json:
        write(name + ".tokenizer.json.gz", json.loads(tok.to_str()))


# ---------------------------------------------------------------- Unicode classes of the regular expression engine
def classes():
    """runs [first, class] over all code points; L letter, N number, S space, O other, as the engine sees them"""
    letters = pre_tokenizers.Split(Regex(r"\p{L}"), "removed")
    numbers = pre_tokenizers.Split(Regex(r"\p{N}"), "removed")
    spaces = pre_tokenizers.Split(Regex(r"\s"), "removed")
    runs, last = [], None
    for c in range(0x110000):
        if 0xd800 <= c < 0xe000: continue
        s = chr(c)
        k = "O"
        if not letters.pre_tokenize_str(s): k = "L"
        elif not numbers.pre_tokenize_str(s): k = "N"
        elif not spaces.pre_tokenize_str(s): k = "S"
        if k != last: runs.append([c, k]); last = k
    return runs


write("classes.json.gz", classes())

# ---------------------------------------------------------------- (a) storyteller: Llama 3 pattern
tok = Tokenizer.from_file(os.path.join(story, "tokenizer.json"))
golden("storyteller", tok)

# ---------------------------------------------------------------- (b) SmolLM2 from its GGUF
from gguf import GGUFReader
r = GGUFReader(gguf_path)
f = r.fields
tokens = f["tokenizer.ggml.tokens"].contents()
types = f["tokenizer.ggml.token_type"].contents()
merges = f["tokenizer.ggml.merges"].contents()
index = {t: i for i, t in enumerate(tokens)}
pairs = [m.split(" ") for m in merges]
bpe = models.BPE(vocab=index, merges=[tuple(p) for p in pairs])
tok = Tokenizer(bpe)
tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
tok.decoder = decoders.ByteLevel()
tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
assert f["tokenizer.ggml.pre"].contents() == "smollm"
golden("smollm2", tok, with_json=False)
write("smollm2.vocab.json.gz", {"pre": "smollm", "tokens": tokens, "special": [i for i, k in enumerate(types) if k == 3],
                                "merges": [[index[a], index[b]] for a, b in pairs], "bos": 1, "eos": 2, "unk": 0})

# ---------------------------------------------------------------- (c) SentencePiece BPE with byte fallback
with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, "c.txt")
    open(path, "w", encoding="utf-8").write("\n".join(corpus))
    spm.SentencePieceTrainer.train(
        input=path, model_prefix=os.path.join(d, "m"), vocab_size=2400, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, character_coverage=0.999,
        allow_whitespace_only_pieces=True, user_defined_symbols=["<ud>"], minloglevel=2)
    model = open(os.path.join(d, "m.model"), "rb").read()
write("spm.model.gz", model)
sp = spm.SentencePieceProcessor(model_proto=model)
n = sp.get_piece_size()
r = random.Random(5)
dec = []
for i in range(400):
    ids = [r.randrange(3, n) if r.random() < .5 else r.randrange(3, 262) for _ in range(r.randrange(1, 9))]
    dec.append([ids, sp.decode(ids), sp.decode(ids)])
write("spm.ids.json.gz", {"ids": sp.encode(texts), "plain": {}, "decoded": dec})

pieces = [sp.id_to_piece(i) for i in range(n)]
vocab = {p: i for i, p in enumerate(pieces)}
local = []
for i, p in enumerate(pieces):
    if sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i): continue
    cuts = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
    cuts.sort(key=lambda c: (vocab[c[0]], vocab[c[1]]))
    local += [(sp.get_score(i), len(a), len(b), a, b) for a, b in cuts]
local.sort(key=lambda v: v[:3], reverse=True)
spmerges = [(v[3], v[4]) for v in local]
added = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]


def llama(legacy):
    t = Tokenizer(models.BPE(vocab=vocab, merges=spmerges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(added)
    t.add_tokens([AddedToken("<ud>", normalized=not legacy)])
    t.post_processor = processors.TemplateProcessing(single=["<s>", "$A"] + ([] if legacy else ["</s>"]), pair=None, special_tokens=[("<s>", 1), ("</s>", 2)])
    return t


golden("llama-prepend", llama(True))
golden("llama-metaspace", llama(False))

# ---------------------------------------------------------------- (d) GPT-2 style, with every kind of added token
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
tok.decoder = decoders.ByteLevel()
tok.post_processor = processors.ByteLevel(trim_offsets=False)
tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
tok.add_tokens([AddedToken("[L]", lstrip=True, normalized=False), AddedToken("[R]", rstrip=True), AddedToken("[W]", single_word=True),
                AddedToken("[N n]", normalized=True), AddedToken("[P]")])
tok.add_special_tokens([AddedToken("[LR]", lstrip=True, rstrip=True, normalized=False)])
golden("gpt2", tok)
base = json.loads(tok.to_str())

# the same vocabulary with ignore_merges (and gaps in the merges, so that it matters)
j = json.loads(json.dumps(base))
j["model"]["ignore_merges"] = True
j["model"]["merges"] = [m for i, m in enumerate(j["model"]["merges"]) if i % 7]
j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
golden("ignore-merges", Tokenizer.from_str(json.dumps(j)))

# the splitting that GGUF files without a known pre-tokenizer name get
j = json.loads(json.dumps(base))
j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in (
        r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)", r"\p{N}+", r"[0-9][0-9][0-9]")] + [
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
golden("default", Tokenizer.from_str(json.dumps(j)), with_json=False)
