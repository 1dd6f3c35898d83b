"""Changing recorded words as rooms, microphones and speakers would, for training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voices import RATE, Samples

Generator = np.random.Generator


class Room(NamedTuple):
    """How much sounds are changed."""

    speed: float = 0.14
    reverb: float = 0.4
    telephone: float = 0.25
    quietest_db: float = -38.0
    noise_db: tuple[float, float] = (4.0, 38.0)


def sped(samples: Samples, factor: float) -> Samples:
    """Faster and higher, or slower and lower."""
    places = np.arange(0, len(samples) - 1, factor)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def noise(count: int, random: Generator) -> Samples:
    """White, pink, brown, or mains hum, with a slow change of loudness; of unit power."""
    spectrum = np.fft.rfft(random.normal(size=count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20)
    made = np.fft.irfft(spectrum / frequency ** random.choice([0.0, 0.5, 1.0]), count)
    if random.random() < 0.15:
        base = random.choice([50, 60, 100, 120])
        time = np.arange(count) / RATE
        made = made / made.std() + sum(
            np.sin(2 * np.pi * base * k * time + random.uniform(0, 6)) * random.random() for k in (1, 2, 3, 5)
        )
    made *= 1 + 0.5 * np.sin(2 * np.pi * random.uniform(0.2, 3) * np.arange(count) / RATE + random.uniform(0, 6))
    unit: Samples = (made / max(made.std(), 1e-9)).astype(np.float32)
    return unit


def reverberated(samples: Samples, random: Generator) -> Samples:
    """In a room: an echo that decays by 60 dB within 0.1 to 0.5 s, under the direct sound."""
    decay = random.uniform(0.1, 0.5)
    length = int(decay * RATE)
    tail = random.normal(size=length) * 10 ** (-3 * np.arange(length) / length)
    tail *= random.uniform(0.1, 0.7) / np.sqrt((tail**2).sum())
    tail[0] += 1
    size = 1 << (len(samples) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return wet.astype(np.float32)


def filtered(samples: Samples, random: Generator, *, telephone: float) -> Samples:
    """Through another microphone: a tilt, and for some the band of a telephone."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum *= 10 ** (random.uniform(-6, 6) * np.log2(np.maximum(frequency, 100) / 1000) / 3 / 20)
    if random.random() < telephone:
        spectrum[(frequency > random.uniform(3300, 4000)) | (frequency < random.uniform(50, 300))] *= 0.01
    changed: Samples = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    return changed


def recorded(samples: Samples, random: Generator, room: Room) -> Samples:
    """As a microphone in a room would record it: echo, colour, noise, some loudness. Silence gets noise alone."""
    speech = float(np.sqrt((samples**2).mean()))
    if speech > 0:
        if random.random() < room.reverb:
            samples = reverberated(samples, random)
        samples = filtered(samples, random, telephone=room.telephone)
        loud = float(np.abs(samples).max())
    background = noise(len(samples), random)
    if speech > 0:
        active = samples[np.abs(samples) > 0.05 * loud].std() or 1e-6
        samples = samples + background * active * 10 ** (-random.uniform(*room.noise_db) / 20)
    else:
        samples = background
    if random.random() < 0.02:
        samples = np.zeros_like(samples)
    peak = max(float(np.abs(samples).max()), 1e-9)
    scaled: npt.NDArray[np.float32] = (samples / peak * 10 ** (random.uniform(room.quietest_db, -0.5) / 20)).astype(
        np.float32
    )
    return scaled
