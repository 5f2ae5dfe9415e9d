"""Drives a server with the public client `openai`, unmodified. Called by tests/server/openai_client.rs."""
import json
import sys

import openai

address, expected = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
checks = 0


def check(condition, what):
    global checks
    assert condition, what
    checks += 1


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="the-only-key", max_retries=0, timeout=30)

# Models.
names = [model.id for model in client.models.list()]
check(names == ["chatty", "bert"], names)
check(client.models.retrieve("bert").owned_by == "grice", "retrieve")
check("the models" not in str(raises(openai.NotFoundError, lambda: client.models.retrieve("other")).code), "other")

# A conversation, whole.
ask = {"model": "chatty", "messages": [{"role": "system", "content": "w9"}, {"role": "user", "content": "w7 w8"}]}
whole = client.chat.completions.create(**ask, max_tokens=8)
choice = whole.choices[0]
check(choice.message.role == "assistant" and choice.message.content, whole)
check(choice.finish_reason in ("stop", "length") and choice.index == 0, whole)
check(whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage)
check(whole.object == "chat.completion" and whole.model == "chatty", whole)
# What the model said is sent back as the client has it.
again = client.chat.completions.create(model="chatty", messages=[*ask["messages"], choice.message, {"role": "user", "content": "w9"}], max_tokens=2)
check(again.usage.prompt_tokens > whole.usage.prompt_tokens, again.usage)

# The same in chunks.
chunks = list(client.chat.completions.create(**ask, max_completion_tokens=8, stream=True, stream_options={"include_usage": True}))
check("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == choice.message.content, chunks)
check(chunks[0].choices[0].delta.role == "assistant", chunks[0])
check([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == [choice.finish_reason], chunks)
check(chunks[-1].choices == [] and chunks[-1].usage == whole.usage, chunks[-1])
# The client's own helper puts the chunks together.
with client.chat.completions.stream(**ask, max_tokens=8) as stream:
    for _ in stream:
        pass
    check(stream.current_completion_snapshot.choices[0].message.content == choice.message.content, "stream helper")

# Several texts that are drawn, with log-probabilities.
drawn = client.chat.completions.create(**ask, max_tokens=6, temperature=1.5, top_p=0.9, seed=4, n=3, logprobs=True, top_logprobs=2)
check([choice.index for choice in drawn.choices] == [0, 1, 2], drawn)
check(all(len(entry.top_logprobs) == 2 for choice in drawn.choices for entry in choice.logprobs.content), drawn)
check(drawn.choices == client.chat.completions.create(**ask, max_tokens=6, temperature=1.5, top_p=0.9, seed=4, n=3, logprobs=True, top_logprobs=2).choices, "seed")
check(client.chat.completions.create(**ask, max_tokens=6, stop=choice.message.content.split()[0]).choices[0].finish_reason == "stop", "stop")

# Prompts.
text = client.completions.create(model="chatty", prompt=["w7", "w8"], max_tokens=5, logprobs=1)
check(len(text.choices) == 2 and "".join(text.choices[0].logprobs.tokens) == text.choices[0].text, text)
pieces = list(client.completions.create(model="chatty", prompt="w7", max_tokens=5, stream=True))
check("".join(piece.choices[0].text for piece in pieces) == text.choices[0].text, pieces)

# Vectors: the client asks for base64 and decodes it; and for numbers.
for options in [{}, {"encoding_format": "float"}]:
    answer = client.embeddings.create(model="bert", input=expected["texts"], **options)
    differences = [abs(a - b) for entry, vector in zip(answer.data, expected["vectors"]) for a, b in zip(entry.embedding, vector, strict=True)]
    check(max(differences) < 1e-4 and len(answer.data) == 2, max(differences))
check(client.embeddings.create(model="bert", input="Yes.").usage.prompt_tokens > 2, "usage")

# Errors are the client's own kinds, before a stream and in the middle of one.
error = raises(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**ask, temperature=-1))
check(error.param == "temperature" and "temperature" in error.message and error.type == "invalid_request_error", error)
error = raises(openai.NotFoundError, lambda: client.chat.completions.create(**{**ask, "model": "other"}))
check(error.code == "model_not_found", error)
error = raises(openai.UnprocessableEntityError, lambda: client.embeddings.create(model="bert", input=""))
check(error.param == "input", error)
error = raises(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**ask, tools=[{"type": "function", "function": {"name": "f"}}]))
check(error.param == "tools", error)
stranger = openai.OpenAI(base_url=f"http://{address}/v1", api_key="another-key", max_retries=0)
check(raises(openai.AuthenticationError, lambda: stranger.models.list()).status_code == 401, "key")
late = client.chat.completions.create(**ask, max_tokens=40_000, extra_body={"min_tokens": 40_000}, stream=True)
error = raises(openai.APIError, lambda: [None for _ in late])
check("deadline" in error.message, error)
# A client that stops reading closes its stream.
left = client.chat.completions.create(**ask, max_tokens=40_000, extra_body={"min_tokens": 40_000}, stream=True)
next(iter(left))
left.close()
check(client.chat.completions.create(**ask, max_tokens=2).usage.completion_tokens <= 2, "after one that left")

print(f"{checks} checks passed")
