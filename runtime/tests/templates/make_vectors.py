#!/usr/bin/env python3
"""What transformers makes of chat templates: the expected values of the tests of `text::template`.

    make_vectors.py FOLDER [OUT]

Renders every `*.jinja` of FOLDER for every conversation of `conversations.json` there or else beside this script, and
writes `expected.json` into OUT (FOLDER itself if not given): {template: {conversation: {"text": ...} or {"error": ...}}}.
"""

import datetime
import json
import sys
from pathlib import Path

from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent


class Noon(datetime.datetime):
    """The time that templates are told: noon, so that the date is the same in nearly every time zone."""

    @classmethod
    def now(cls, tz=None):
        return cls(2025, 7, 9, 12, 0, 0)


chat_template_utils.datetime = Noon


def render(template, conversation):
    variables = dict(conversation.get("variables", {}))
    for token in ("bos_token", "eos_token"):
        if token in conversation:
            variables[token] = conversation[token]
    if "enable_thinking" in conversation:
        variables["enable_thinking"] = conversation["enable_thinking"]
    try:
        texts, _ = render_jinja_template(
            conversations=[conversation["messages"]],
            chat_template=template,
            tools=conversation.get("tools"),
            documents=conversation.get("documents"),
            add_generation_prompt=conversation.get("add_generation_prompt", False),
            **variables,
        )
        return {"text": texts[0]}
    except Exception as error:  # whatever a template may do wrong
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else folder)
    conversations = folder / "conversations.json"
    if not conversations.exists():
        conversations = HERE / "conversations.json"
    conversations = json.loads(conversations.read_text())
    expected = {
        path.name: {name: render(path.read_text(), conversation) for name, conversation in conversations.items()}
        for path in sorted(folder.glob("*.jinja"))
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (out / "expected.json").write_text(text + "\n")


main()
