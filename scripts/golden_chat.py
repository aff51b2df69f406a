"""Renders the chat templates in crates/data/tests/golden/chat with transformers and stores the text.

    python scripts/golden_chat.py        # needs: pip install transformers jinja2

Each `.jinja` file imitates the style of a family of models. Every template renders every conversation
of `conversations.json`, with and without a generation prompt; what it refuses is stored as an error.
`crates/data/tests/golden_chat.rs` compares.
"""

import datetime
import json
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers.utils import chat_template_utils

GOLDEN = Path(__file__).parent.parent / "crates/data/tests/golden"


class FixedDay(datetime.datetime):
    """Today, for `strftime_now`."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(source, conversation, special, add_generation_prompt):
    """The text, and the UTF-8 bytes of it that `{% generation %}` encloses."""
    marked = "generation %}" in source or "generation -%}" in source
    try:
        rendered = chat_template_utils.render_jinja_template(
            [conversation["messages"]],
            tools=conversation.get("tools"),
            chat_template=source,
            return_assistant_tokens_mask=marked,
            add_generation_prompt=add_generation_prompt,
            **special,
        )
    except TemplateError as error:
        return {"error": str(error)}
    text, spans = rendered[0][0], rendered[1][0] if marked else []
    size = lambda end: len(text[:end].encode())
    return {"text": text, "answers": [[size(start), size(end)] for start, end in spans]}


def main():
    chat_template_utils.datetime = FixedDay
    data = json.loads((GOLDEN / "conversations.json").read_text())
    cases = []
    for path in sorted((GOLDEN / "chat").glob("*.jinja")):
        for name, conversation in data["conversations"].items():
            for add_generation_prompt in [False, True]:
                result = render(path.read_text(), conversation, data["special"], add_generation_prompt)
                case = {"template": path.name, "conversation": name}
                cases.append(case | {"add_generation_prompt": add_generation_prompt} | result)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (GOLDEN / "chat.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} renderings, {sum('error' in case for case in cases)} refused")


if __name__ == "__main__":
    main()
