"""The official Python client against a Lamina server. See ../README.md."""

import asyncio
import os
import time
import unittest
import urllib.request

import openai

BASE = os.environ["LAMINA_BASE_URL"]
PROMPT = "Once upon a time"
CONFIG = dict(base_url=BASE, api_key=os.environ.get("LAMINA_API_KEY", "none"), max_retries=0, timeout=120)
client = openai.OpenAI(**CONFIG)
MODEL = os.environ.get("LAMINA_MODEL") or client.models.list().data[0].id
USER = [{"role": "user", "content": "Tell me a story."}]


def complete(**kw):
    return client.completions.create(**{"model": MODEL, "prompt": PROMPT, "max_tokens": 12, "temperature": 0, **kw})


def chat(**kw):
    return client.chat.completions.create(**{"model": MODEL, "messages": USER, "max_tokens": 12, "temperature": 0, **kw})


def in_flight():
    request = urllib.request.Request(BASE.removesuffix("/v1") + "/metrics", headers={"Authorization": "Bearer " + CONFIG["api_key"]})
    with urllib.request.urlopen(request) as r:
        for line in r.read().decode().splitlines():
            if line.startswith("lamina_requests_in_flight "):
                return float(line.split()[1])
    raise AssertionError("no lamina_requests_in_flight in /metrics")


class Case(unittest.TestCase):
    def refused(self, kind, code, call):
        with self.assertRaises(kind) as caught:
            call()
        self.assertEqual(caught.exception.code, code)
        self.assertTrue(caught.exception.request_id)
        return caught.exception


class Models(Case):
    def test_list_and_retrieve(self):
        self.assertIn(MODEL, [m.id for m in client.models.list()])
        m = client.models.retrieve(MODEL)
        self.assertEqual((m.id, m.object), (MODEL, "model"))

    def test_unknown(self):
        self.refused(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("no/such:model"))
        self.refused(openai.NotFoundError, "model_not_found", lambda: complete(model="no/such:model"))


class Completions(Case):
    def test_whole(self):
        c = complete()
        self.assertEqual((c.object, c.model, c.choices[0].finish_reason), ("text_completion", MODEL, "length"))
        self.assertTrue(c.choices[0].text)
        self.assertEqual(c.usage.completion_tokens, 12)
        self.assertEqual(c.usage.total_tokens, c.usage.prompt_tokens + 12)

    def test_stream_equals_whole(self):
        chunks = list(complete(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(x.text for c in chunks for x in c.choices), complete().choices[0].text)
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], 12))
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))

    def test_prompt_shapes(self):
        many = complete(prompt=[PROMPT, "The end"])
        self.assertEqual([c.index for c in many.choices], [0, 1])
        self.assertEqual(many.choices[0].text, complete().choices[0].text)
        ids = complete(prompt=[[1, 2, 3], [4, 5]])
        self.assertEqual((len(ids.choices), ids.usage.prompt_tokens), (2, 5))
        self.assertEqual(complete(prompt=[1, 2, 3]).choices[0].text, ids.choices[0].text)

    def test_logprobs(self):
        lp = complete(logprobs=3).choices[0].logprobs
        self.assertEqual(len(lp.tokens), 12)
        for token, value, top in zip(lp.tokens, lp.token_logprobs, lp.top_logprobs):
            self.assertLessEqual(value, 0)
            self.assertEqual(top[token], value)
            self.assertEqual(max(top.values()), value)  # greedy

    def test_echo(self):
        for max_tokens in (0, 1):
            c = complete(echo=True, logprobs=1, max_tokens=max_tokens)
            lp, n = c.choices[0].logprobs, c.usage.prompt_tokens
            self.assertTrue(c.choices[0].text.startswith(PROMPT))
            self.assertEqual(len(lp.tokens), n + max_tokens)
            self.assertEqual(len(lp.text_offset), n + max_tokens)
            self.assertIsNone(lp.token_logprobs[0])
            self.assertTrue(all(v <= 0 for v in lp.token_logprobs[1:]))

    def test_n(self):
        whole = complete(n=3, temperature=1, seed=11)
        self.assertEqual([c.index for c in whole.choices], [0, 1, 2])
        texts = [""] * 3
        for chunk in complete(n=3, temperature=1, seed=11, stream=True):
            for c in chunk.choices:
                texts[c.index] += c.text
        self.assertEqual(texts, [c.text for c in whole.choices])

    def test_seed(self):
        a, b = (complete(temperature=1, seed=7).choices[0].text for _ in range(2))
        self.assertEqual(a, b)

    def test_stop(self):
        text = complete().choices[0].text
        stop = text[3:6]
        c = complete(stop=[stop, "\0never"]).choices[0]
        self.assertEqual((c.text, c.finish_reason), (text[: text.index(stop)], "stop"))

    def test_errors(self):
        e = self.refused(openai.BadRequestError, "invalid_type", lambda: complete(extra_body={"max_tokens": "many"}))
        self.assertEqual((e.param, e.type), ("max_tokens", "invalid_request_error"))
        self.refused(openai.BadRequestError, "invalid_value", lambda: complete(temperature=5))
        self.refused(openai.BadRequestError, "unsupported_parameter", lambda: complete(suffix="x"))
        too_long = "once upon " * 60000
        for stream in (False, True):
            self.refused(openai.BadRequestError, "context_length_exceeded", lambda: complete(prompt=too_long, stream=stream))

    def test_abort(self):
        stream = complete(stream=True, max_tokens=150)
        next(iter(stream))
        stream.close()
        end = time.monotonic() + 5
        while in_flight() > 0 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(in_flight(), 0)
        self.assertTrue(complete().choices[0].text)

    def test_async(self):
        async def both():
            async with openai.AsyncOpenAI(**CONFIG) as c:
                args = dict(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0)
                return await asyncio.gather(*(c.completions.create(**args) for _ in range(2)))

        a, b = asyncio.run(both())
        self.assertEqual(a.choices[0].text, b.choices[0].text)


class Chat(Case):
    @classmethod
    def setUpClass(cls):
        try:
            chat(max_tokens=1)
        except openai.BadRequestError as e:
            if e.code == "no_chat_template":
                raise unittest.SkipTest("the model has no chat template")
            raise

    def test_whole(self):
        c = chat(messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
        self.assertEqual((c.object, c.choices[0].message.role), ("chat.completion", "assistant"))
        self.assertGreater(c.usage.completion_tokens, 0)

    def test_stream_equals_whole(self):
        chunks = list(chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(x.delta.content or "" for c in chunks for x in c.choices)
        whole = chat()
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason)
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], whole.usage.completion_tokens))

    def test_stream_helper(self):
        with client.chat.completions.stream(model=MODEL, messages=USER, max_tokens=12, temperature=0) as s:
            s.until_done()  # not get_final_completion, which objects to an answer cut by max_tokens
            got = s.current_completion_snapshot.choices[0].message.content
        self.assertEqual(got, chat().choices[0].message.content)

    def test_logprobs(self):
        lp = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertTrue(lp)
        for t in lp:
            self.assertEqual(len(t.top_logprobs), 2)
            self.assertEqual(t.top_logprobs[0].logprob, t.logprob)

    def test_errors(self):
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
        self.refused(openai.BadRequestError, "unsupported_content", lambda: chat(messages=image))
        self.refused(openai.BadRequestError, "unsupported_parameter", lambda: chat(response_format={"type": "json_object"}))
        long = [{"role": "user", "content": "once upon " * 60000}]
        self.refused(openai.BadRequestError, "context_length_exceeded", lambda: chat(messages=long))


if __name__ == "__main__":
    unittest.main(verbosity=2)
