"""Chat templates that write turns in the ways of real models, and messages to put through them."""

from __future__ import annotations

from typing import Any

START, END, EOS = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CALLS = (
    "{% if tools %}{{ tools | tojson + '\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + ARGUMENTS + '</call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
AS_OBJECT = CALLS.replace("ARGUMENTS", "(c.function.arguments | tojson)")
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.content.split('</think>')[-1] }}{% if m.role == 'assistant' %}{{ '<|im_end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|><think>\n' }}{% endif %}"
)
SPOKEN = (
    "{% for m in messages %}{{ ('USER: ' if m.role == 'user' else ' ASSISTANT: ') + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token if loop.last else ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(arguments: Any = None, name: str = "weather") -> dict[str, Any]:
    function = {"name": name, "arguments": {"city": "Rome"} if arguments is None else arguments}
    return answer("", tool_calls=[{"type": "function", "function": function}])
