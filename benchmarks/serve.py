"""Serving compared side by side on the same two cores: raw calls, a bare ASGI echo, Edgewise, LitServe, MLServer.

    python benchmarks/serve.py [--rounds 3] [--seconds 4] [--only net|jpeg|echo] [--no-peers]

Each peer has its best transport: MLServer gRPC with raw tensors, LitServe multipart with raw bytes. Rounds are
interleaved, a server that is not being measured is stopped (SIGSTOP), and each figure is the median of its rounds. The
load generator (wrk, for gRPC a Python client that neither serialises nor parses) shares the cores; its own processor
time is printed, as a share of the two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

import net  # noqa: E402

import envs  # noqa: E402
from edgewise import zoo  # noqa: E402
from edgewise.media import images  # noqa: E402
from edgewise.models.folder import load_manifest  # noqa: E402
from edgewise.node.library import default_cache  # noqa: E402
from edgewise.testing.packages import write_echo  # noqa: E402

CLIENTS = 8
CORES = sorted(os.sched_getaffinity(0))[:2]
MODEL = "efficientnet-lite0"


@dataclass
class Load:
    """One run of the load generator."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_share: float
    server_ms: float = 0.0


@dataclass
class Contender:
    """What is measured: called for some seconds, it says how fast it was."""

    name: str
    measure: Callable[[float], Load]
    process: subprocess.Popen[bytes] | None = None
    loads: list[Load] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Measures once, with the processor time that the server took for a request."""
        before = self.processor_s()
        load = self.measure(seconds)
        load.server_ms = 1000 * (self.processor_s() - before) / (load.per_second * seconds)
        self.loads.append(load)

    def processor_s(self) -> float:
        """Processor time of the server's processes so far; of this one when there is no server."""
        if self.process is None:
            return time.process_time()
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def median(self, figure: str) -> float:
        return statistics.median(getattr(load, figure) for load in self.loads)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def generate(command: list[str], seconds: float, environment: dict[str, str] | None = None) -> Load:
    """Runs a load generator and reads its last line."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    if result["errors"]:
        print(f"{result['errors']} errors: {' '.join(command)}\n{done.stderr[-500:]}", file=sys.stderr)
    return Load(
        per_second=result["requests"] / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        errors=result["errors"],
        client_share=used / seconds / len(CORES),
    )


def wrk(url: str, body: Path, headers: dict[str, str]) -> Callable[[float], Load]:
    """Load over HTTP."""

    def measure(seconds: float) -> Load:
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:g}s", "--timeout", "30s"]
        environment = {
            "LOADGEN_BODY": str(body),
            "LOADGEN_HEADERS": "\n".join(f"{name}: {value}" for name, value in headers.items()),
        }
        return generate([*command, "-s", str(HERE / "loadgen/post.lua"), url], seconds, environment)

    return measure


def grpc(address: str, body: Path) -> Callable[[float], Load]:
    """Load over gRPC."""

    def measure(seconds: float) -> Load:
        script = str(HERE / "loadgen/grpc_load.py")
        return generate(
            [str(envs.python_of("mlserver")), script, address, str(body), str(CLIENTS), str(seconds)], seconds
        )

    return measure


def threads(call: Callable[[], object]) -> Callable[[float], Load]:
    """Two threads that call a function as fast as they can, with no server."""

    def measure(seconds: float) -> Load:
        latencies: list[float] = []
        stop_at = time.perf_counter() + seconds

        def run() -> None:
            while (start := time.perf_counter()) < stop_at:
                call()
                latencies.append(time.perf_counter() - start)

        workers = [threading.Thread(target=run) for _ in CORES]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        elapsed = time.perf_counter() - start
        latencies.sort()
        p50, p99 = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        return Load(len(latencies) / elapsed, p50 * 1e3, p99 * 1e3, 0, 0.0)

    return measure


@contextlib.contextmanager
def server(command: list[str], ready_url: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, once it answers."""
    with open(Path(tempfile.gettempdir()) / "edgewise-bench.log", "ab") as log:
        process = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log, **options)  # type: ignore[call-overload]
        try:
            wait_ready(process, ready_url)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended; see {tempfile.gettempdir()}/edgewise-bench.log")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"{process.args} does not answer")


class Bench:
    """Everything that the cases share: files, models, and servers that are stopped in the end."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, *, peers: bool) -> None:
        self.folder = folder
        self.peers = peers
        self.package = zoo.pull(MODEL, default_cache())
        manifest = load_manifest(self.package)
        self.version = manifest.version
        self.input = manifest.inputs[0].name
        variant = next(variant for variant in manifest.variants if variant.runtime == "onnxruntime")
        self.onnx = self.package / variant.artifact
        self._stack = stack
        self.edgewise = self._start_edgewise()

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def start(self, command: list[str], ready_url: str, **options: object) -> subprocess.Popen[bytes]:
        return self._stack.enter_context(server(command, ready_url, **options))

    def _start_edgewise(self) -> tuple[subprocess.Popen[bytes], str]:
        write_echo(self.folder / "models")
        port = free_port()
        settings = self.file(
            "edgewise.yaml",
            f"models: [{self.folder}/models/echo, {self.package}]\nnode: {{data: {self.folder}/data}}\n"
            f"http: {{port: {port}}}\n".encode(),
        )
        command = [str(Path(sys.executable).parent / "edgewise"), "up", "--config", str(settings)]
        url = f"http://127.0.0.1:{port}"
        return self.start(command, f"{url}/v2/models/{MODEL}/ready"), url

    def litserve(self, kind: str) -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        command = [str(envs.python_of("litserve")), str(HERE / "peers/litserve_app.py"), kind, str(port)]
        url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "BENCH_ONNX": str(self.onnx)}
        return self.start(command, f"{url}/health", env=environment), f"{url}/predict"

    def mlserver(self, model: str, *, workers: int) -> tuple[subprocess.Popen[bytes], str, str]:
        """An MLServer with one model; returns its process, HTTP URL of infer, and gRPC address."""
        folder = self.folder / f"mlserver-{model}"
        folder.mkdir()
        http, grpc_port, metrics = free_port(), free_port(), free_port()
        settings = {
            "http_port": http,
            "grpc_port": grpc_port,
            "metrics_port": metrics,
            "host": "127.0.0.1",
            "parallel_workers": workers,
            "debug": False,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        named = {"name": model.lower(), "implementation": f"mlserver_models.{model}"}
        (folder / "model-settings.json").write_text(json.dumps(named))
        environment = {**os.environ, "BENCH_ONNX": str(self.onnx), "PYTHONPATH": str(HERE / "peers")}
        command = [str(envs.python_of("mlserver").parent / "mlserver"), "start", str(folder)]
        url = f"http://127.0.0.1:{http}"
        process = self.start(command, f"{url}/v2/models/{model.lower()}/ready", env=environment)
        return process, f"{url}/v2/models/{model.lower()}/infer", f"127.0.0.1:{grpc_port}"

    def grpc_request(self, model: str, datatype: str, shape: str, data: Path) -> Path:
        out = self.folder / f"{model}.pb"
        command = [str(envs.python_of("mlserver")), str(HERE / "peers/grpc_request.py")]
        subprocess.run([*command, model, datatype, shape, str(data), str(out)], check=True)
        return out


def binary_request(name: str, array: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """An Open Inference request with one binary tensor, asking for binary outputs."""
    tensor = {
        "name": name,
        "datatype": "FP32",
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    return header + array.tobytes(), headers


def form(content: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart form with one file."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
    body = head + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--b--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=b"}


def net_case(bench: Bench) -> list[Contender]:
    """EfficientNet-lite0 on binary tensors."""
    tensor = np.random.default_rng(0).normal(size=(1, 3, net.SIDE, net.SIDE)).astype(np.float32)
    session = net.open_session(str(bench.onnx))
    process, url = bench.edgewise
    body, headers = binary_request(bench.input, tensor)
    path = f"{url}/v2/models/{MODEL}/infer"
    contenders = [
        Contender("raw ONNX Runtime, no server", threads(lambda: net.infer(session, tensor))),
        Contender("edgewise, binary tensors", wrk(path, bench.file("net.bin", body), headers), process),
    ]
    if bench.peers:
        raw = bench.file("net.raw", tensor.tobytes())
        lit, lit_url = bench.litserve("tensors")
        lit_body, lit_headers = form(tensor.tobytes())
        contenders.append(
            Contender("LitServe, raw bytes", wrk(lit_url, bench.file("net.form", lit_body), lit_headers), lit)
        )
        ml, _, address = bench.mlserver("Tensors", workers=2)
        request = bench.grpc_request("tensors", "FP32", f"1,3,{net.SIDE},{net.SIDE}", raw)
        contenders.append(Contender("MLServer, gRPC raw tensors", grpc(address, request), ml))
    return contenders


def jpeg_case(bench: Bench) -> list[Contender]:
    """From an uploaded JPEG to a typed result."""
    jpeg = images.encode_jpeg(images.read(HERE.parent / "src/edgewise/zoo/pictures/cat.png"), quality=90)
    session = net.open_session(str(bench.onnx))
    process, url = bench.edgewise
    upload = bench.file("cat.jpg", jpeg)
    path = f"{url}/v1/models/{MODEL}/predict"
    contenders = [
        Contender("decode + infer called directly", threads(lambda: net.classify(session, jpeg))),
        Contender("edgewise, JPEG upload", wrk(path, upload, {"Content-Type": "image/jpeg"}), process),
    ]
    if bench.peers:
        lit, lit_url = bench.litserve("pictures")
        lit_body, lit_headers = form(jpeg)
        contenders.append(
            Contender("LitServe, JPEG in a form", wrk(lit_url, bench.file("jpeg.form", lit_body), lit_headers), lit)
        )
        ml, _, address = bench.mlserver("Pictures", workers=2)
        request = bench.grpc_request("pictures", "BYTES", "1", upload)
        contenders.append(Contender("MLServer, gRPC JPEG bytes", grpc(address, request), ml))
    return contenders


def echo_case(bench: Bench) -> list[Contender]:
    """A tensor of 1 x 1000 floats, echoed."""
    tensor = np.random.default_rng(0).normal(size=(1, 1000)).astype(np.float32)
    process, url = bench.edgewise
    body, headers = binary_request("x", tensor)
    binary = bench.file("echo.bin", body)
    data = [round(float(value), 6) for value in tensor[0]]
    as_json = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": data}]}
    text = bench.file("echo.json", json.dumps(as_json).encode())
    json_headers = {"Content-Type": "application/json"}
    port = free_port()
    bare_command = [sys.executable, str(HERE / "peers/bare_echo.py"), str(port)]
    bare = bench.start(bare_command, f"http://127.0.0.1:{port}/")
    path = f"{url}/v2/models/echo/infer"
    contenders = [
        Contender("bare ASGI echo, same uvicorn", wrk(f"http://127.0.0.1:{port}/", binary, headers), bare),
        Contender("edgewise, binary tensors", wrk(path, binary, headers), process),
        Contender("edgewise, JSON", wrk(path, text, json_headers), process),
    ]
    if bench.peers:
        ml, ml_url, address = bench.mlserver("Echo", workers=0)
        raw = bench.file("echo.raw", tensor.tobytes())
        contenders.append(Contender("MLServer, JSON", wrk(ml_url, text, json_headers), ml))
        request = bench.grpc_request("echo", "FP32", "1,1000", raw)
        contenders.append(Contender("MLServer, gRPC raw tensors", grpc(address, request), ml))
        lit, lit_url = bench.litserve("echo")
        lit_body, lit_headers = form(tensor.tobytes())
        contenders.append(
            Contender("LitServe, raw bytes", wrk(lit_url, bench.file("echo.form", lit_body), lit_headers), lit)
        )
    return contenders


CASES = {"net": net_case, "jpeg": jpeg_case, "echo": echo_case}


def run_case(contenders: list[Contender], *, rounds: int, seconds: float) -> None:
    """Interleaved rounds; only the server being measured runs."""
    for contender in contenders:
        if contender.process is not None:
            contender.measure(1)  # warm-up
            os.killpg(contender.process.pid, signal.SIGSTOP)
    for _ in range(rounds):
        for contender in contenders:
            if contender.process is not None:
                os.killpg(contender.process.pid, signal.SIGCONT)
            contender.run(seconds)
            if contender.process is not None:
                os.killpg(contender.process.pid, signal.SIGSTOP)
    for contender in contenders:
        if contender.process is not None:
            os.killpg(contender.process.pid, signal.SIGCONT)


def report(title: str, contenders: list[Contender]) -> None:
    """One table; the ratio is to the first line."""
    first = contenders[0].median("per_second")
    print(f"\n{title}, {CLIENTS} clients, cores {CORES}")
    print(f"{'':34}{'per s':>9}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'server ms':>11}{'client':>8}")
    for contender in contenders:
        rate = contender.median("per_second")
        print(
            f"{contender.name:34}{rate:9.1f}{rate / first:8.2f}{contender.median('p50_ms'):9.2f}"
            f"{contender.median('p99_ms'):9.2f}{contender.median('server_ms'):11.3f}{contender.median('client_share'):8.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, CORES)
    for name, case in CASES.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                bench = Bench(Path(folder), stack, peers=not arguments.no_peers)
                contenders = case(bench)
                run_case(contenders, rounds=arguments.rounds, seconds=arguments.seconds)
                report((case.__doc__ or "").splitlines()[0].rstrip("."), contenders)


if __name__ == "__main__":
    main()
