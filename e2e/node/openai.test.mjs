// The official JavaScript client against a Lamina server. See ../README.md.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';

const baseURL = process.env.LAMINA_BASE_URL;
const apiKey = process.env.LAMINA_API_KEY || 'none';
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const model = process.env.LAMINA_MODEL || (await client.models.list()).data[0].id;
const complete = (more = {}, options) =>
  client.completions.create({ model, prompt: 'Once upon a time', max_tokens: 12, temperature: 0, ...more }, options);
const chat = (more = {}) =>
  client.chat.completions.create({
    model, messages: [{ role: 'user', content: 'Tell me a story.' }], max_tokens: 12, temperature: 0, ...more,
  });

async function collect(stream) {
  const chunks = [];
  for await (const c of stream) chunks.push(c);
  return chunks;
}

async function refused(kind, code, promise) {
  await assert.rejects(promise, (e) => {
    assert.ok(e instanceof kind, `${e}`);
    assert.equal(e.code, code);
    assert.ok(e.requestID);
    return true;
  });
}

async function inFlight() {
  const r = await fetch(baseURL.replace(/\/v1$/, '/metrics'), { headers: { Authorization: `Bearer ${apiKey}` } });
  return Number(/^lamina_requests_in_flight (\S+)$/m.exec(await r.text())[1]);
}

const noTemplate = await chat({ max_tokens: 1 }).then(() => false, (e) => {
  if (e.code !== 'no_chat_template') throw e;
  return 'the model has no chat template';
});

test('models', async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.ok(ids.includes(model));
  assert.equal((await client.models.retrieve(model)).id, model);
  await refused(OpenAI.NotFoundError, 'model_not_found', client.models.retrieve('no/such:model'));
  await refused(OpenAI.NotFoundError, 'model_not_found', complete({ model: 'no/such:model' }));
});

test('completion, whole and streamed', async () => {
  const whole = await complete();
  assert.equal(whole.choices[0].finish_reason, 'length');
  assert.equal(whole.usage.completion_tokens, 12);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + 12);
  const chunks = await collect(await complete({ stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks.flatMap((c) => c.choices).map((c) => c.text).join(''), whole.choices[0].text);
  const last = chunks.pop();
  assert.deepEqual([last.choices, last.usage.completion_tokens], [[], 12]);
  assert.ok(chunks.every((c) => c.usage === null && c.id === last.id));
});

test('prompt shapes, logprobs, echo', async () => {
  const ids = await complete({ prompt: [[1, 2, 3], [4, 5]] });
  assert.deepEqual(ids.choices.map((c) => c.index), [0, 1]);
  assert.equal(ids.usage.prompt_tokens, 5);
  const lp = (await complete({ logprobs: 2 })).choices[0].logprobs;
  assert.equal(lp.tokens.length, 12);
  lp.tokens.forEach((t, i) => assert.equal(lp.top_logprobs[i][t], lp.token_logprobs[i]));
  const echo = await complete({ echo: true, logprobs: 1, max_tokens: 0 });
  assert.equal(echo.choices[0].text, 'Once upon a time');
  assert.equal(echo.choices[0].logprobs.token_logprobs[0], null);
  assert.equal(echo.choices[0].logprobs.tokens.length, echo.usage.prompt_tokens);
});

test('n, seed, stop', async () => {
  const many = { n: 3, temperature: 1, seed: 11 };
  const whole = (await complete(many)).choices.map((c) => c.text);
  const streamed = ['', '', ''];
  for await (const chunk of await complete({ ...many, stream: true })) {
    for (const c of chunk.choices) streamed[c.index] += c.text;
  }
  assert.deepEqual(streamed, whole);
  const text = (await complete()).choices[0].text;
  const stop = text.slice(3, 6);
  const cut = (await complete({ stop })).choices[0];
  assert.deepEqual([cut.text, cut.finish_reason], [text.slice(0, text.indexOf(stop)), 'stop']);
});

test('errors', async () => {
  await refused(OpenAI.BadRequestError, 'invalid_type', complete({ max_tokens: 'many' }));
  await refused(OpenAI.BadRequestError, 'invalid_value', complete({ temperature: 5 }));
  const prompt = 'once upon '.repeat(60000);
  await refused(OpenAI.BadRequestError, 'context_length_exceeded', complete({ prompt }));
  await refused(OpenAI.BadRequestError, 'context_length_exceeded', complete({ prompt, stream: true }));
});

test('an aborted stream frees the server', async () => {
  const stream = await complete({ stream: true, max_tokens: 150 });
  for await (const _ of stream) break;
  stream.controller.abort();
  const end = Date.now() + 5000;
  while ((await inFlight()) > 0 && Date.now() < end) await new Promise((ok) => setTimeout(ok, 50));
  assert.equal(await inFlight(), 0);
  assert.ok((await complete()).choices[0].text);
});

test('chat, whole and streamed', { skip: noTemplate }, async () => {
  const whole = await chat();
  assert.equal(whole.choices[0].message.role, 'assistant');
  const chunks = await collect(await chat({ stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.flatMap((c) => c.choices).map((c) => c.delta.content ?? '').join(''), whole.choices[0].message.content);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  assert.equal(chunks.at(-2).choices[0].finish_reason, whole.choices[0].finish_reason);
  const lp = (await chat({ logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content;
  assert.ok(lp.length > 0 && lp.every((t) => t.top_logprobs.length === 2 && t.top_logprobs[0].logprob === t.logprob));
});

test('chat errors', { skip: noTemplate }, async () => {
  const messages = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }];
  await refused(OpenAI.BadRequestError, 'unsupported_content', chat({ messages }));
  await refused(OpenAI.BadRequestError, 'unsupported_parameter', chat({ response_format: { type: 'json_object' } }));
});
