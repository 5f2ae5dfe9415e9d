#!/usr/bin/env python3
"""A server that judges and writes at once: what streams cost detections, and what happens to more streams than fit.

    cargo build --release
    python benches/streams.py target/release/grice [--writer models/repair-mini] [--detector models/detector-mini]

Starts the server, asks for 50 detections a second, each of a new turn, first alone and then beside 32 clients that stream texts one after the other.
Then three times as many streams as its memory holds, with a short queue. Tells the time of detections, of first tokens and of the pauses between
events, how many streams were turned away, and the server's memory. Standard library only.
"""
import argparse
import asyncio
import json
import os
import subprocess
import time
from collections import Counter

PORT = 18473
PROMPT = "answer: [CONTEXT] What did you think of film number {}? [EVIDENCE]  [RESPONSE]"


async def post(path, body, on_event=None):
    """Status and body of a request; the time of each piece goes to `on_event`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    received = b""
    while chunk := await reader.read(65536):
        received += chunk
        if on_event and b"data: " in chunk:
            on_event(time.perf_counter())
    writer.close()
    return status, received


async def detections(seconds, rate, offset):
    """Times of detections, begun at a fixed rate whatever the answers do."""
    took, running, start = [], [], time.perf_counter()

    async def one(number):
        begun = time.perf_counter()
        turn = {"context": "What did you think of the film?", "response": f"It was about {number} minutes too long, and I liked it."}
        status, answer = await post("/v1/detect", turn)
        assert status == 200, (status, answer)
        took.append(time.perf_counter() - begun)

    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        running.append(asyncio.create_task(one(offset + number)))
    await asyncio.gather(*running)
    return took


class Streams:
    """Clients that stream texts one after the other."""

    def __init__(self, tokens):
        self.tokens, self.first, self.pauses, self.statuses, self.ended = tokens, [], [], Counter(), Counter()

    async def client(self, number, until):
        while time.perf_counter() < until:
            begun, times = time.perf_counter(), []
            body = {"prompt": PROMPT.format(f"{number}.{begun}"), "max_tokens": self.tokens, "min_tokens": self.tokens, "temperature": 1, "stream": True}
            status, answer = await post("/v1/completions", body, times.append)
            self.statuses[status] += 1
            if status == 200:
                assert answer.rstrip().endswith(b"0") and b"data: [DONE]" in answer, answer[-300:]
                self.ended[number] += 1
                self.first.append(times[0] - begun)
                self.pauses += [after - before for before, after in zip(times, times[1:])]
            else:
                assert status == 429 and b"rate_limit_error" in answer, (status, answer)
                await asyncio.sleep(0.2)

    async def run(self, count, seconds):
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self.client(number, until) for number in range(count)))


def told(times):
    ordered = sorted(times)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3
    return f"p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms, n {len(ordered)}", at(.99)


class Server:
    def __init__(self, arguments, *options):
        command = [arguments.grice, "serve", "--bundle", f"detector={arguments.detector}", "--bundle", f"writer={arguments.writer}",
                   "--listen", f"127.0.0.1:{PORT}", "--log", "error", "--deadline-ms", "60000", *options]
        self.process = subprocess.Popen(command)
        for _ in range(600):
            if subprocess.run([arguments.grice, "doctor", "--health", f"http://127.0.0.1:{PORT}"], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("the server does not start")

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


async def beside(arguments, server):
    await detections(3, 50, 0)
    alone = await detections(arguments.seconds, 50, 1_000_000)
    print("detections alone:        ", told(alone)[0])
    streams = Streams(arguments.tokens)
    before = server.resident()
    both = asyncio.create_task(streams.run(32, arguments.seconds + 4))
    await asyncio.sleep(2)
    middle = server.resident()
    beside_streams = await detections(arguments.seconds, 50, 2_000_000)
    await both
    print("detections beside:       ", told(beside_streams)[0], f"({told(beside_streams)[1] / told(alone)[1]:.1f} × alone)")
    print("first events:            ", told(streams.first)[0])
    print("pauses between events:   ", told(streams.pauses)[0])
    print(f"streams: {dict(streams.statuses)}, each client had {min(streams.ended[n] for n in range(32))} to {max(streams.ended.values())} texts")
    print(f"memory: {before:.0f} MB, {middle:.0f} MB with streams, {server.resident():.0f} MB at the end")


async def too_many(server, seconds):
    streams, before = Streams(200), server.resident()
    await streams.run(24, seconds)
    print(f"24 clients, room for 4 texts and 4 in line: {dict(streams.statuses)}; memory {before:.0f} → {server.resident():.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grice")
    parser.add_argument("--writer", default="models/repair-mini")
    parser.add_argument("--detector", default="models/detector-mini")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--tokens", type=int, default=60)
    arguments = parser.parse_args()
    server = Server(arguments)
    asyncio.run(beside(arguments, server))
    print("exit status after SIGTERM:", server.stop())
    server = Server(arguments, "--queue-rows-max", "4", "--memory", "16")
    asyncio.run(too_many(server, arguments.seconds))
    print("exit status after SIGTERM:", server.stop())


if __name__ == "__main__":
    main()
