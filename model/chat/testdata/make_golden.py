#!/usr/bin/env python3
"""Makes golden.json: chat templates rendered by jinja2 as transformers does.

    pip install jinja2
    make_golden.py [STORYTELLER/tokenizer_config.json] > golden.json
"""
import datetime, json, sys
import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2024, 7, 4, 9, 5, 7)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: NOW.strftime(f)

T = {}
T["chatml"] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
T["smollm2"] = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
T["llama2"] = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
T["mistral"] = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
T["zephyr"] = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
T["llama3"] = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
T["llama3.1"] = r'''{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions. To call a function, please respond with JSON for a function call." }}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
    {{- "Do not use variables.\n\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Custom tools are passed in a user message with some extra guidance #}
{%- if tools_in_user_message and not tools is none %}
    {#- Extract the first user message so we can plug it in here #}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call " }}
    {{- "with its proper arguments that best answers the given prompt.\n\n" }}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
    {{- "Do not use variables.\n\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
'''
T["features"] = r'''{%- macro show(role, text='?') -%}
  [{{ role | upper }}: {{ text }}]
{%- endmacro -%}
{%- set ns = namespace(n=0, seen='') -%}
{% for m in messages %}
    {% if m.role == 'system' %}
        {% continue %}
    {% endif %}
    {% set ns.n = ns.n + 1 %}
    {% set ns.seen = ns.seen ~ m['role'][0] %}
  {{ show(m.role, m.content | trim) }}
    {%- if loop.last %} LAST{% endif %}

    {% if ns.n >= 3 %}
        {% break %}
    {% endif %}
{% endfor %}
n={{ ns.n }} seen={{ ns.seen }} {# a comment #}
{% if tools %}{% for t in tools %}{{ t | tojson }}
{% for k, v in t.function.parameters.properties.items() %}{{ k }}={{ v.type }};{% endfor %}

{% endfor %}{% endif %}
{% set block %}
  in a block
{% endset %}
{{ block | trim }} {{ range(1, 4) | list | length }} {{ messages[-1].content.split(' ')[0] }}
  {%- for i in range(3) %} {{ i }}{% if not loop.last %},{% endif %}{% endfor %}
{{ 'yes' if messages | length > 1 else 'no' }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages[0].content.startswith('You') }} {{ 'a-b-c'.replace('-', '+') }} {{ none is none }} {{ 7 // 2 }} {{ [1, 2][1:] | length }}
'''
if len(sys.argv) > 1:
    T["storyteller"] = json.load(open(sys.argv[1]))["chat_template"]

user = lambda c: {"role": "user", "content": c}
bot = lambda c: {"role": "assistant", "content": c}
system = lambda c: {"role": "system", "content": c}
call = [{"type": "function", "id": "c1", "function": {"name": "weather", "arguments": {"place": "Zürich <&> 'x'", "days": 3, "scale": 1.0, "x": None, "l": []}}}]
CONV = {
    "one": [user("Hello!")],
    "spaces": [user("  \n Hi, \"you\" \\ there \t\n")],
    "system": [system("You are a storyteller."), user("Go on."), bot(" Once upon a time "), user("And then?")],
    "twice": [user("a"), user("b")],
    "closed": [user("a"), bot("b")],
    "unicode": [system("Zażółć 😀"), user("<|im_end|> {{ 7*7 }} {% raw %} 日本語 é")],
    "tool": [user("Weather?"), {"role": "assistant", "content": None, "tool_calls": call}, {"role": "tool", "content": "{\"t\": 20}\n"}],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The \"weather\" <b>now</b> & later\n'x' é 😀 \u2028 \x01",
          "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 1e3, "default": 0.5}, "a": {"type": ["null", "x"], "enum": []}},
                         "required": ["place"], "additionalProperties": False, "z": {}}}}]
cases = []
for name, src in T.items():
    t = env.from_string(src)
    for conv, messages in CONV.items():
        for gen in (False, True):
            for tools in (None, TOOLS):
                if tools and name not in ("llama3.1", "features") or conv == "tool" and name != "llama3.1": continue
                for extra in ({}, {"tools_in_user_message": False}) if name == "llama3.1" and tools else ({},):
                    c = {"template": name, "messages": messages, "add_generation_prompt": gen, "tools": tools, "extra": extra}
                    try:
                        c["text"] = t.render(messages=messages, tools=tools, documents=None, add_generation_prompt=gen, bos_token="<s>", eos_token="</s>", **extra)
                    except jinja2.exceptions.TemplateError as e:
                        c["error"] = str(e)
                    cases.append(c)
json.dump({"templates": T, "now": NOW.isoformat() + "Z", "cases": cases}, sys.stdout, ensure_ascii=False, indent=0)
