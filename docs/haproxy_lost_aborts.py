"""Ray Serve + HAProxy loses client aborts: reproduction and regression test.  Usage: repro.py [rounds]
A handler sleeps 8 s behind HAProxy; several kinds of client give up after 0.7 s.  `option splice-request` (hard-coded
in Ray's HAProxy template) makes HAProxy ignore the client's FIN/RST once the request body was read apart from the
headers, so the replica never learns.  Exit status 0: every abort raised CancelledError within 1 s; 3: some did not.
"""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import uuid

RUN, PORT = tempfile.mkdtemp(prefix="hap", dir="/tmp"), int(os.environ.get("PORT", "18000"))
for key, value in {
    "ENABLE_HA_PROXY": 1,
    "THROUGHPUT_OPTIMIZED": 1,
    "HAPROXY_METRICS_PORT": 19101,
    "HAPROXY_STATS_PORT": 18404,
    "DIRECT_INGRESS_MIN_HTTP_PORT": 32000,
    "DIRECT_INGRESS_MAX_HTTP_PORT": 32500,
    "HAPROXY_CONFIG_FILE_LOC": f"{RUN}/haproxy.cfg",
    "HAPROXY_SOCKET_PATH": f"{RUN}/admin.sock",
    "HAPROXY_SERVER_STATE_BASE": RUN,
    "HAPROXY_SERVER_STATE_FILE": f"{RUN}/server-state",
    "HAPROXY_METRICS_SOCKET_PATH": f"{RUN}/metrics.sock",
}.items():
    os.environ.setdefault(f"RAY_SERVE_{key}", str(value))  # before ray is imported
import fastapi
import httpx
import ray
from ray import serve

EVENTS, GIVE_UP, URL = tempfile.mkstemp(dir=RUN)[1], 0.7, f"http://127.0.0.1:{PORT}/slow"
api = fastapi.FastAPI()


@serve.deployment(max_ongoing_requests=500)
@serve.ingress(api)
class App:
    @api.post("/slow")
    async def slow(self, request: fastapi.Request):
        body = await request.json()
        try:
            await asyncio.sleep(body["sleep"])
        except asyncio.CancelledError:
            pathlib.Path(body["events"]).open("a").write(body["id"] + "\n")
            raise


def payload(rid, pad=0, sleep=8):
    return json.dumps({"id": rid, "sleep": sleep, "events": EVENTS, "pad": "x" * pad}).encode()


async def raw(
    body, gap
):  # gap None: headers and body in one write; else two writes, `gap` seconds apart
    w = (await asyncio.open_connection("127.0.0.1", PORT))[1]
    head = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for part in [head + body] if gap is None else [head, body]:
        w.write(part)
        await asyncio.sleep(gap or 0)
    await asyncio.sleep(GIVE_UP)
    w.close()


async def curl(body, _):  # SIGKILLed while it waits
    p = await asyncio.create_subprocess_exec(
        "curl", "-so/dev/null", "--data-binary", "@-", URL, stdin=-1
    )
    p.stdin.write(body), p.stdin.close()
    await asyncio.sleep(GIVE_UP + 0.1)
    p.kill(), await p.wait()


async def post(
    body, how, pool=None
):  # how: the client's own timeout, or its task cancelled; pool=None: a new client
    async with contextlib.nullcontext(pool) if pool else httpx.AsyncClient() as client:
        with contextlib.suppress(httpx.TimeoutException, asyncio.TimeoutError):
            request = client.post(URL, content=body, timeout=GIVE_UP if how == "timeout" else 30)
            await asyncio.wait_for(request, 30 if how == "timeout" else GIVE_UP)


async def main(rounds):
    caught, total = collections.Counter(), collections.Counter()
    async with httpx.AsyncClient(timeout=60) as pool:
        pooled = lambda body, how: post(body, how, pool)
        kinds = {
            "raw-1-write": (raw, None),
            "raw-2-writes": (raw, 0.005),
            "curl-SIGKILL": (curl, None),
            "new-timeout": (post, "timeout"),
            "new-cancel": (post, "cancel"),
            "pool-timeout": (pooled, "timeout"),
            "pool-cancel": (pooled, "cancel"),
        }
        for i in range(rounds):
            await asyncio.gather(
                *(pool.post(URL, content=payload("warm", sleep=0.01)) for _ in range(4))
            )  # reused connections
            ids = {f"{kind}-{uuid.uuid4().hex}": kind for kind in kinds}
            await asyncio.gather(
                *(
                    kinds[k][0](payload(rid, (0, 0, 30_000, 300_000)[i % 4]), kinds[k][1])
                    for rid, k in ids.items()
                )
            )
            await asyncio.sleep(1)
            (
                total.update(ids.values()),
                caught.update(ids[rid] for rid in open(EVENTS).read().split() if rid in ids),
            )
    print(
        *(f"{k:13} caught {caught[k]}/{total[k]}" for k in kinds),
        f"TOTAL caught {caught.total()}/{total.total()}",
        sep="\n",
    )
    return 3 if caught != total else 0


if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(App.bind())
    status = asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
    serve.shutdown(), ray.shutdown(), sys.exit(status)
