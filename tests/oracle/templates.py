"""What Hugging Face makes of conversations with each chat template of the family.

    python tests/oracle/templates.py [--out DIR]

Writes `tests/fixtures/templates/`: one `.jinja` file for each template, as the
models' `tokenizer_config.json` has it, and `goldens.json`. See
`tests/fixtures/README.md`.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from common import FIXTURES, write_json

PHI_3_TURNS = (
    "{% for message in messages %}{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
)
PHI_3_5 = (
    "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_3_SMALL = (
    "{{ bos_token }}{% for message in messages %}"
    "{{'<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
#: The beginning of a loop over Phi-4's turns with a header each.
PHI_4_USER_AND_ASSISTANT = (
    "(message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'assistant') %}"
    "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
PHI_4_SYSTEM = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif "
)
PHI_4_FIRST = (
    PHI_4_SYSTEM + "(message['role'] == 'user') %}"
    "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|><|im_start|>assistant<|im_sep|>'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}"
)
#: The system text of Phi-4-reasoning.
FIXED = (
    "You are Phi, a language model trained by Microsoft to help users. Your role as an assistant involves thoroughly "
    "exploring questions through a systematic thinking process before providing the final precise and accurate "
    "solutions. This requires engaging in a comprehensive cycle of analysis, summarizing, exploration, reassessment, "
    "reflection, backtracing, and iteration to develop well-considered thinking process. Please structure your "
    "response into two main sections: Thought and Solution using the specified format: <think> {Thought section} "
    "</think> {Solution section}. In the Thought section, detail your reasoning process in steps. Each step should "
    "include detailed considerations such as analysing questions, summarizing relevant findings, brainstorming new "
    "ideas, verifying the accuracy of the current steps, refining any errors, and revisiting previous steps. In the "
    "Solution section, based on various attempts, explorations, and reflections from the Thought section, "
    "systematically present the final solution that you deem correct. The Solution section should be logical, "
    "accurate, and concise and detail necessary steps needed to reach the conclusion. Now, try to solve the following "
    "question through the above guidelines:"
)
FIXED_SHA256 = "88df15fe1f347e9837ab4579c60f4fbae1cd1abf5a5ceab1bd93b846f65e1228"
FIXED_TURN = "<|im_start|>system<|im_sep|>" + FIXED + "<|im_end|>"
#: In the public transcription a system message of the caller's makes the users' words vanish.
REASONING_PUBLIC = (
    "{% if messages[0]['role'] != 'system' %}{{'" + FIXED_TURN + "'}}{% endif %}{% for message in messages %}"
    "{% if messages[0]['role'] == 'system' %}{{'" + FIXED_TURN + "'}}{% elif " + PHI_4_USER_AND_ASSISTANT
)
PHI_4_MINI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + "
    "message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + "
    "message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_4_MINI_REASONING = (
    "{{ '<|system|>Your name is Phi, an AI math expert developed by Microsoft.' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %} {{ message['content'] }}"
    "{% if 'tools' in message and message['tools'] is not none %}{{ '<|tool|>' + message['tools'] + '<|/tool|>' }}"
    "{% endif %}{% endif %}{% endfor %}{{ '<|end|>' }}{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)

END = "<|endoftext|>"

#: Name, bos, eos, template.
TEMPLATES = [
    ("phi-3-mini-first", "<s>", END, "{{ bos_token }}" + PHI_3_TURNS),
    ("phi-3-medium", "<s>", END, PHI_3_TURNS),
    ("phi-3.5", "<s>", END, PHI_3_5),
    ("phi-3-small", END, END, PHI_3_SMALL),
    ("phi-4-first", END, "<|im_end|>", PHI_4_FIRST),
    ("phi-4", END, "<|im_end|>", PHI_4_SYSTEM + PHI_4_USER_AND_ASSISTANT),
    ("phi-4-reasoning", END, "<|im_end|>", FIXED_TURN + "{% for message in messages %}{% if " + PHI_4_USER_AND_ASSISTANT),
    ("phi-4-reasoning-public", END, "<|im_end|>", REASONING_PUBLIC),
    ("phi-4-mini", END, END, PHI_4_MINI),
    ("phi-4-mini-reasoning", END, END, PHI_4_MINI_REASONING),
]  # fmt: skip

SYSTEM = {"role": "system", "content": "SYS"}
USER = {"role": "user", "content": "U1"}
ASSISTANT = {"role": "assistant", "content": "A1"}
AGAIN = {"role": "user", "content": "U2"}
TOOLS = json.dumps([{"name": "f", "parameters": {"x": {"type": "int"}}}, {"name": "g"}])
CALL = {"role": "assistant", "content": '<|tool_call|>[{"name": "f", "arguments": {"x": 1}}]<|/tool_call|>'}
RESULT = {"role": "tool", "content": '{"y": "é"}'}

#: Name, messages, whether an answer is asked for.
CASES = [
    ("conversation", [SYSTEM, USER, ASSISTANT, AGAIN], True),
    ("conversation, answered", [SYSTEM, USER, ASSISTANT], False),
    ("question", [USER], True),
    ("question, not asked", [USER], False),
    ("empty system", [{"role": "system", "content": ""}, USER], True),
    ("blanks", [{"role": "system", "content": " \n S\t"}, {"role": "user", "content": "\n\n U \u00a0"}, ASSISTANT, AGAIN], True),
    ("thinking", [USER, {"role": "assistant", "content": "<think>T</think>\n\nA"}, AGAIN], True),
    ("tools", [{**SYSTEM, "tools": TOOLS}, USER], True),
    ("tools alone", [{"role": "system", "content": "", "tools": TOOLS}, USER], True),
    ("tool call and result", [{**SYSTEM, "tools": TOOLS}, USER, CALL, RESULT], True),
]  # fmt: skip


def renderer(template, bos, eos):
    """`apply_chat_template` of a tokenizer with this template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), chat_template=template, bos_token=bos, eos_token=eos
    )

    def render(messages, add_generation_prompt):
        return tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)

    return render


def folded(messages):
    """The system text in front of the first question."""
    system, *rest = messages
    first = next(i for i, message in enumerate(rest) if message["role"] == "user")
    text = system["content"] + "\n" + rest[first]["content"]
    return [*rest[:first], {**rest[first], "content": text}, *rest[first + 1 :]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    folder = parser.parse_args().out / "templates"
    assert hashlib.sha256(FIXED.encode()).hexdigest() == FIXED_SHA256, len(FIXED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    goldens = []
    for name, bos, eos, template in TEMPLATES:
        (folder / f"{name}.jinja").write_text(template, "utf-8", newline="")
        render = renderer(template, bos, eos)
        cases = []
        for case, messages, ask in CASES:
            golden = {"name": case, "messages": messages, "add_generation_prompt": ask, "rendered": render(messages, ask)}
            if messages[0]["role"] == "system":
                golden["dropped"] = render(messages[1:], ask)
                golden["folded"] = render(folded(messages), ask)
            cases.append(golden)
        goldens.append({"template": name, "bos": bos, "eos": eos, "cases": cases})
    write_json(folder / "goldens.json", {"goldens": goldens})
    print(len(goldens), "templates written")


if __name__ == "__main__":
    main()
