"""Cameras, sensors and models on one node: does it keep up, and by how much.

    python -m benchmarks.streams [--seconds 60] [--only latency|rate|gate|still|models|sensors|capacity]

All on two cores, with vtest.avi (768 x 576, 10 fps, people in a yard) and NanoDet:

* ``latency``: four cameras through gate, person detection, tracking and counting, at the film's pace: from taking the
  picture to the event on disk; the first third of the time against the last tells whether delay grows.
* ``rate``: pictures a second of four cameras, as fast as they go, against a plain loop per camera that reads (OpenCV)
  and detects (ONNX Runtime as it comes).
* ``gate``: the same film with and without the motion gate: people counted, pictures spared.
* ``still``: 24 cameras that show the same picture with the noise of a sensor.
* ``models``: three models at once against the sum of their times alone.
* ``sensors``: processor time of a node with eight sensors on MQTT, once a second each.
* ``capacity``: what ``edgewise capacity`` says, against what then runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.media import images
from edgewise.media.film import write_video
from edgewise.node import capacity, organs
from edgewise.node.library import default_cache
from edgewise.node.node import Node
from edgewise.node.pool import Pool
from edgewise.node.settings import Settings, load
from edgewise.pipeline.base import Event
from edgewise.pipeline.batching import Batcher
from edgewise.pipeline.scheduler import Scheduler
from edgewise.testing.films import FILMS
from edgewise.zoo.sources import Sources

FPS = 10
WATCH = """
      - {kind: motion}
      - {kind: detect, model: nanodet, labels: [person], min_score: 0.4}
      - {kind: track}
      - {kind: dwell, zones: {lawn: [[0, 0.4], [0.7, 0.4], [0.7, 1], [0, 1]]}, loiter_s: 5}
"""


def settings_of(folder: Path, cameras: dict[str, str], transforms: str = WATCH, extra: str = "") -> Settings:
    """Settings with these sources, all with the same transforms."""
    pipelines = "".join(
        f"  {name}:\n    source: {source}\n    evidence: false\n    transforms:{transforms}"
        for name, source in cameras.items()
    )
    file = folder / "edgewise.yaml"
    file.write_text(f"node: {{data: {folder}/data, workers: 2}}\npipelines:\n{pipelines}{extra}")
    return load(file, environment={})


def video(path: Path, *, loop: bool = True, realtime: bool = True) -> str:
    return f"{{kind: video, path: {path}, loop: {str(loop).lower()}, realtime: {str(realtime).lower()}}}"


class Timed(Node):
    """A node that notes how old each event's picture is when the event is on disk."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.delays: list[tuple[float, float]] = []

    def accept(self, event: Event) -> None:
        super().accept(event)
        self.delays.append((time.monotonic(), (time.time_ns() - event.time_ns) / 1e6))


@contextmanager
def running(settings: Settings) -> Iterator[Timed]:
    node = Timed(settings)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def states(node: Node) -> list[Any]:
    return [runner.state() for runner in node.pipelines.values()]


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else float("nan")


def latency(film: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cameras = {f"camera-{number}": video(film) for number in range(4)}
        with running(settings_of(Path(folder), cameras)) as node:
            started, cpu = time.monotonic(), time.process_time()
            latencies: list[tuple[float, float]] = []
            while (elapsed := time.monotonic() - started) < seconds:
                latencies += [(elapsed, state.latency_ms) for state in states(node)]
                time.sleep(0.5)
            used = (time.process_time() - cpu) / seconds
            found = states(node)
            delays = [ms for _, ms in node.delays]
    early = [ms for at, ms in latencies if at < seconds / 3]
    late = [ms for at, ms in latencies if at > seconds * 2 / 3]
    print(f"four cameras at {FPS} fps for {seconds:.0f} s, {used:.2f} cores used")
    print(
        f"  picture to event on disk   p50 {percentile(delays, 50):.0f} ms, p95 {percentile(delays, 95):.0f} ms", end=""
    )
    print(f" ({len(delays)} events; asked: p95 <= 250 ms)")
    print(f"  picture worked on, median  {statistics.median(early):.0f} ms in the first third, ", end="")
    print(f"{statistics.median(late):.0f} ms in the last")
    print(f"  pictures                   {sum(s.processed for s in found)} worked on, ", end="")
    print(f"{sum(s.dropped for s in found)} dropped, {sum(s.errors for s in found)} failed")


def rate(film: Path, seconds: float) -> None:
    ours, plain = [], []
    for _ in range(3):
        ours.append(our_rate(film, seconds / 6))
        plain.append(plain_rate(film, seconds / 6))
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    print(f"pictures a second, four cameras: Edgewise {statistics.median(ours):.1f}, ", end="")
    print(f"a plain loop per camera {statistics.median(plain):.1f}: {ratio:.2f} x (asked: 2 x)")


def our_rate(film: Path, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        cameras = {f"camera-{number}": video(film, realtime=False) for number in range(4)}
        with running(settings_of(Path(folder), cameras)) as node:
            time.sleep(1.0)
            before, started = sum(s.processed for s in states(node)), time.perf_counter()
            time.sleep(seconds)
            return (sum(s.processed for s in states(node)) - before) / (time.perf_counter() - started)


def plain_rate(film: Path, seconds: float) -> float:
    """What one writes first: a thread per camera, a session per camera, all with their defaults."""
    import cv2
    import onnxruntime as ort

    import edgewise

    cv2.setNumThreads(-1)
    model = edgewise.load("nanodet")
    artifact = model.folder / next(v.artifact for v in model.manifest.variants if v.runtime == "onnxruntime")
    stop, counts = threading.Event(), [0] * 4

    def camera(place: int) -> None:
        session = ort.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        spec = model.manifest.inputs[0].name
        outputs = [output.name for output in session.get_outputs()]
        capture = cv2.VideoCapture(str(film))
        while not stop.is_set():
            there, bgr = capture.read()
            if not there:
                capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                continue
            image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            tensor = model.preprocess(image)[spec]
            session.run(outputs, {name: tensor})
            counts[place] += 1

    threads = [threading.Thread(target=camera, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    before, started = sum(counts), time.perf_counter()
    time.sleep(seconds)
    per_second = (sum(counts) - before) / (time.perf_counter() - started)
    stop.set()
    for thread in threads:
        thread.join()
    model.close()
    images.limit_threads(1)
    return per_second


def gate(film: Path, _: float) -> None:
    """Both ways over the whole film once."""
    counted = {}
    for word, transforms in (("with", WATCH), ("without", WATCH.replace("      - {kind: motion}\n", ""))):
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_of(Path(folder), {"yard": video(film, loop=False, realtime=False)}, transforms)
            with organs.open_tools(settings) as tools:
                counted[word] = people(settings, tools)
    (with_, spared), (without, _) = counted["with"], counted["without"]
    print(f"people in all pictures: {with_} with the gate, {without} without ({with_ / without - 1:+.1%}; ", end="")
    print(f"asked: 2 %); {spared:.0%} of the pictures spared")


def people(settings: Settings, tools: Any) -> tuple[int, float]:
    found, still, frames = 0, 0, 0

    def see(observation: Any) -> None:
        nonlocal found, still, frames
        found += len(observation.objects)
        still += observation.still
        frames += 1

    runner = organs.make_pipeline(
        "yard",
        settings.pipelines["yard"],
        lane=Scheduler(cores=1).lane(),
        tools=tools,
        on_event=lambda _: None,
        on_readings=lambda _: None,
        store=lambda _: "",
        store_exact=lambda _: "",
        is_heard=lambda _: False,
        batcher=Batcher(cores=1),
    )
    publish = runner._publish
    runner._publish = lambda observation: (see(observation), publish(observation))[1]  # type: ignore[method-assign]
    runner.start()
    runner.join()
    runner.stop()
    return found, still / max(1, frames)


def still(film: Path, seconds: float) -> None:
    from edgewise.media import video as reader

    with tempfile.TemporaryDirectory() as folder:
        _, first = next(reader.frames(film))
        noise = np.random.default_rng(0)

        def pictures() -> Iterator[Any]:
            for _ in range(100):
                yield np.clip(first + noise.normal(0, 2, first.shape), 0, 255).astype(np.uint8)

        path = Path(folder) / "still.mp4"
        write_video(path, pictures(), fps=FPS)
        cameras = {f"camera-{number:02}": video(path) for number in range(24)}
        with running(settings_of(Path(folder), cameras)) as node:
            time.sleep(5.0)
            before, cpu, started = states(node), time.process_time(), time.perf_counter()
            time.sleep(seconds / 2)
            elapsed = time.perf_counter() - started
            used = (time.process_time() - cpu) / elapsed
            after = states(node)
    fps = [(b.processed - a.processed) / elapsed for a, b in zip(before, after, strict=True)]
    dropped = sum(b.dropped - a.dropped for a, b in zip(before, after, strict=True))
    print(f"24 cameras when nothing moves: {min(fps):.1f} to {max(fps):.1f} fps each, {dropped} dropped, ", end="")
    print(f"{used:.2f} of 2 cores (asked: they keep up)")


def models(_: Path, seconds: float) -> None:
    import edgewise

    names = ("nanodet", "yunet", "efficientnet-lite0")
    picture = images.read(Path(__file__).parents[1] / "tests/data/astronaut.jpg")
    opened = {name: edgewise.load(name) for name in names}
    images.limit_threads(1)
    scheduler = Scheduler(cores=2)
    pool = Pool(scheduler, max_waiting=60000, max_wait_s=600)

    def run(counts: dict[str, int]) -> float:
        calls = [name for name, count in counts.items() for _ in range(count)]
        np.random.default_rng(0).shuffle(calls)
        started = time.perf_counter()
        done = threading.Semaphore(0)
        for name in calls:
            pool.call(lambda *_: done.release(), opened[name].predict, picture)
        for _ in calls:
            done.acquire()
        return time.perf_counter() - started

    for name in names:
        run({name: 10})
    counts = {name: max(10, int(seconds / 10 / (run({name: 20}) / 20))) for name in names}
    ratios = []
    for _ in range(3):
        alone = sum(run({name: count}) for name, count in counts.items())
        ratios.append(run(counts) / alone)
    pool.close()
    print(f"three models together: {statistics.median(ratios):.2f} of the sum of their times alone (asked: <= 1.1)")


def sensors(_: Path, seconds: float) -> None:
    import paho.mqtt.client as paho

    from edgewise.testing.broker import Mosquitto
    from edgewise.testing.node import RunningNode

    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder)) as broker:
        sources = "".join(
            f"  sensor-{number}:\n    source: {{kind: mqtt, topics: [sensors/{number}]}}\n" for number in range(8)
        )
        Path(folder, "edgewise.yaml").write_text(
            f"node: {{data: data}}\nhttp: {{port: 0}}\n"
            f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\npipelines:\n{sources}"
        )
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        with RunningNode(Path(folder)) as node:
            stop = threading.Event()

            def publish() -> None:
                while not stop.wait(1.0):
                    for number in range(8):
                        client.publish(f"sensors/{number}", b'{"temperature": 21.5, "humidity": 40}')

            thread = threading.Thread(target=publish)
            thread.start()
            time.sleep(8.0)
            before, started = cpu_s(node.pid), time.perf_counter()
            time.sleep(seconds / 2)
            used = (cpu_s(node.pid) - before) / (time.perf_counter() - started)
            stop.set()
            thread.join()
        client.loop_stop()
    print(f"eight sensors, once a second each: {used:.2%} of one core (asked: under 2 %)")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fits(film: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = settings_of(Path(folder), {"camera-0": video(film)})
        with organs.open_tools(one) as tools:
            said = capacity.measure(one, tools=tools, seconds=seconds / 6)
        promised = 1 + said.more["camera-0"]
        print(f"edgewise capacity promises {promised} such cameras ({said.costs[0].cpu_ms:.1f} ms a picture)")
        for count in sorted({promised, max(promised + 1, round(1.1 * promised) + 1)}):
            cameras = {f"camera-{number}": video(film) for number in range(count)}
            with running(settings_of(Path(folder), cameras)) as node:
                time.sleep(5.0)
                before, started = sum(s.processed for s in states(node)), time.perf_counter()
                time.sleep(seconds / 3)
                kept = (sum(s.processed for s in states(node)) - before) / (time.perf_counter() - started)
            print(f"  {count} cameras: {kept / (FPS * count):.1%} of their pictures are worked on")


PARTS: dict[str, Callable[[Path, float], None]] = {
    "latency": latency,
    "rate": rate,
    "gate": gate,
    "still": still,
    "models": models,
    "sensors": sensors,
    "capacity": fits,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=PARTS, action="append")
    arguments = parser.parse_args()
    folder = default_cache().parent / "films"
    folder.mkdir(parents=True, exist_ok=True)
    film = Sources(folder).obtain(FILMS["vtest.avi"])
    for name in arguments.only or PARTS:
        PARTS[name](film, arguments.seconds)


if __name__ == "__main__":
    main()
