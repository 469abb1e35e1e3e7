"""What judging costs the machine that asks: CPU time of many requests at once, and of answers from disk.

    python bench/judge.py [--requests 640] [--at-once 64] [--seconds 1.0]

A server in a process of its own, on loopback, gives each answer after so many seconds. Counted is the CPU
time (user and system) of this process alone while it asks through the package's own client, cache included:
for each request, and as a share of one core over the least time that so many requests can take. Exit code 1
where that share is half or more, or an answer is missing. Wall time depends on what else the machine does.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from everystep.core import recipe
from everystep.core.types import Prompt, Sampling
from everystep.score.endpoint import Endpoint, open_line
from everystep.score.rubric import load_rubric, schema, system_prompt, user_prompt

CRITERIA = ("reasoning_quality", "coherence", "step_clarity")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """One connection of the server, until the client closes it."""
    content = json.dumps({"rationale": "Both steps hold. " * 10} | dict.fromkeys(CRITERIA, 4))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
    tree = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    body = json.dumps(tree).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    try:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            lines = asked.lower().split(b"\r\n")
            size = next(int(row.split(b":")[1]) for row in lines if row.startswith(b"content-length:"))
            await reader.readexactly(size)
            await asyncio.sleep(seconds)
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(seconds: float) -> None:
    """A server on a free port, which is printed, until the process ends."""
    server = await asyncio.start_server(lambda r, w: answer(r, w, seconds), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def prompts(count: int) -> list[Prompt]:
    """Judge's prompts as they are, of the usual length."""
    math = load_rubric("math")
    steps = [f"{n} * 12 = {n * 12} rolls in {n} boxes." for n in range(3, 8)]
    return [
        Prompt(
            str(i),
            user_prompt(
                f"Problem {i}?",
                str(i),
                steps,
                str(i),
                rubric=math,
                criteria=CRITERIA,
                seed=0,
                verdict="right",
            ),
        )
        for i in range(count)
    ]


def measured(at: Endpoint, asked: list[Prompt]) -> tuple[int, float, float]:
    """Answers, wall seconds and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    groups = at.sample(asked, 1, Sampling(max_tokens=400))
    return sum(map(len, groups)), time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=640)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.seconds))
        return
    os.environ["NO_PROXY"] = "127.0.0.1"
    command = [sys.executable, __file__, "--serve", "--seconds", str(options.seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        with tempfile.TemporaryDirectory() as folder:
            settings = recipe.Judge(
                base_url=url,
                model="m",
                concurrency=options.at_once,
                cache=str(Path(folder) / "answers.sqlite"),
            )
            line = open_line(settings)  # loads the client, which is no part of asking
            at = Endpoint(line, system_prompt(load_rubric("math"), CRITERIA), schema(CRITERIA))
            asked = prompts(options.requests)
            machine = platform.processor() or platform.machine()
            print(f"{machine}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
            print(f"{options.requests} requests, {options.at_once} at once, {options.seconds:g} s each")
            count, wall, cpu = measured(at, asked)
            share = cpu / (options.seconds * count / options.at_once)
            print(f"asked: {count} answers in {wall:.1f} s, {1000 * cpu / count:.2f} ms CPU each")
            print(f"       {100 * share:.0f} % of one core, had nothing else delayed them")
            count, wall, cpu = measured(at, asked)
            print(f"from disk: {count} answers in {wall:.2f} s, {1000 * cpu / count:.2f} ms CPU each")
            if share >= 0.5:
                sys.exit("half a core or more: too much")
            if line.ledger.answers != options.requests:
                sys.exit(f"only {line.ledger.answers} answers: {line.ledger.to_json()}")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
