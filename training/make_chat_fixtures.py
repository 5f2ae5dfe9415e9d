"""Chat templates and what transformers makes of them, for crates/core/src/chat/tests.rs.

Writes crates/testkit/fixtures/chat: templates in the styles that are common, a small tokenizer, and conversations with the text and the ids
that `apply_chat_template` gives.

    python training/make_chat_fixtures.py
"""

import datetime
import json
from pathlib import Path

import tokenizers
import transformers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

FOLDER = Path(__file__).parent.parent / "crates/testkit/fixtures/chat"
NOW = datetime.datetime(2024, 12, 31, 12, 5, 9)
SPECIALS = [
    "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
]

TEMPLATES = {
    # A message of the system is added where there is none.
    "chatml": """{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    # The system's message stands in the first one of the user; roles must alternate.
    "llama2": """{% if messages[0]['role'] == 'system' %}
    {% set loop_messages = messages[1:] %}
    {% set system_message = messages[0]['content'] %}
{% else %}
    {% set loop_messages = messages %}
    {% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if loop.index0 == 0 and system_message != false %}
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}
        {% set content = message['content'] %}
    {% endif %}
    {% if message['role'] == 'user' %}
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {% elif message['role'] == 'assistant' %}
        {{ ' ' + content | trim + ' ' + eos_token }}
    {% endif %}
{% endfor %}
""",
    # Special tokens are put together from parts.
    "phi": """{% for message in messages %}{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    # The date, macros, namespaces, methods of Python, and marks for training.
    "llama3": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- macro header(role) %}<|start_header_id|>{{ role }}<|end_header_id|>

{% endmacro %}
{%- set ns = namespace(system='', turns=0) %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- endif %}
{{- header('system') + "Today Date: " + date_string + "\\n\\n" + ns.system + "<|eot_id|>" }}
{%- for message in messages %}
    {%- set ns.turns = ns.turns + 1 %}
    {%- if message.role == 'assistant' %}
        {{- header(message.role) }}
        {%- generation %}{{- message['content'].strip().split('</think>')[-1].lstrip('\\n') + "<|eot_id|>" }}{% endgeneration %}
    {%- else %}
        {{- header(message.role) + message['content'] | trim + "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- header('assistant') }}
{%- endif %}
""",
    # JSON, loop controls, and tests of what is there.
    "odds": """{%- for message in messages -%}
{%- if message.role == 'system' and not loop.first %}{% continue %}{% endif -%}
{%- if loop.index > 4 %}{% break %}{% endif -%}
{{ message | tojson }} {{ message.content | upper | length }} {{ message.get('name', 'nobody') }}
{% for key, value in message.items() %}{{ key }}={{ value[:3] }};{% endfor %}

{%- if tools is not none and tools %} tools{% endif %}
{%- if tools is iterable and tools | length > 0 %} tools{% endif %}
{%- if message.content is iterable and messages is iterable and 7 is not iterable %} yes{% endif %}
{%- if loop.last and message.content.startswith('W') %} asks{% endif %}
{% endfor %}{{ messages | length }} {{ [1, 2, messages[0].content] | tojson(indent=2) }}
{{ {'a<b': "it's & <so>", 'n': 1.5, 'none': none, 'yes': true} | tojson }}
""",
}

SYSTEM = {"role": "system", "content": "  Answer briefly.\n"}
QUESTION = {"role": "user", "content": "What did you think of the film?"}
ANSWER = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nI liked it a lot. "}
CONVERSATIONS = [
    [QUESTION],
    [SYSTEM, QUESTION],
    [QUESTION, ANSWER, {"role": "user", "content": " Why?\n\nBe honest \\u003c & <b>'quote'</b> \"x\" "}],
    [SYSTEM, QUESTION, ANSWER, {"role": "user", "content": "Ünïcödé, 日本語, \U0001f600\ttabs\\n"}],
    [QUESTION, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "What <s> and [INST] are for?"}, ANSWER, SYSTEM, QUESTION],
    [QUESTION, QUESTION],
    [SYSTEM, {"role": "user", "content": ""}],
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIALS, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [message["content"] for conversation in CONVERSATIONS for message in conversation]
    tokenizer.train_from_iterator(texts + ["system user assistant You are a helpful assistant. Today Date: "] * 3, trainer)
    # Other texts begin with <s>; conversations only where the template says so.
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    chat_template_utils.datetime = Clock
    tokenizer = make_tokenizer()
    cases = []
    for name, template in TEMPLATES.items():
        (FOLDER / f"{name}.jinja").write_text(template, encoding="utf-8")
        for messages in CONVERSATIONS:
            case = {"template": name, "messages": messages}
            try:
                arguments = {"chat_template": template, "add_generation_prompt": True}
                case["text"] = tokenizer.apply_chat_template(messages, tokenize=False, **arguments)
                case["ids"] = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **arguments)
            except Exception as error:  # noqa: BLE001 (whatever a template raises is the expected outcome)
                case["error"] = str(error)
            cases.append(case)
    written = {
        "transformers": transformers.__version__,
        "now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
        "tokens": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "cases": cases,
    }
    (FOLDER / "cases.json").write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
