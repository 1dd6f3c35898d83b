"""The settings of one pipeline: a source and the transforms behind it. The parts' own settings stand beside them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import WhenFull
from edgewise.pipeline.external import ExternalSettings
from edgewise.pipeline.places import Polygon
from edgewise.pipeline.recording import RecordSettings
from edgewise.pipeline.sources.below import BelowSettings
from edgewise.pipeline.sources.camera import CameraSettings
from edgewise.pipeline.sources.folder import FolderSettings
from edgewise.pipeline.sources.microphone import MicrophoneSettings
from edgewise.pipeline.sources.modbus import ModbusSettings
from edgewise.pipeline.sources.mqtt import MqttSourceSettings
from edgewise.pipeline.sources.opcua import OpcUaSettings
from edgewise.pipeline.sources.readings import ReadingsSettings
from edgewise.pipeline.sources.replay import ReplaySettings
from edgewise.pipeline.sources.rtsp import RtspSettings
from edgewise.pipeline.sources.serial import SerialSettings
from edgewise.pipeline.sources.sound import SoundSettings
from edgewise.pipeline.sources.upload import UploadSettings
from edgewise.pipeline.sources.video import VideoSettings
from edgewise.pipeline.transforms.anomaly import AnomalySettings
from edgewise.pipeline.transforms.classify import ClassifySettings
from edgewise.pipeline.transforms.clean import CleanSettings
from edgewise.pipeline.transforms.command import CommandSettings
from edgewise.pipeline.transforms.count import CountSettings
from edgewise.pipeline.transforms.debounce import DebounceSettings
from edgewise.pipeline.transforms.detect import DetectSettings
from edgewise.pipeline.transforms.dwell import DwellSettings
from edgewise.pipeline.transforms.features import FeaturesSettings
from edgewise.pipeline.transforms.motion import MotionSettings
from edgewise.pipeline.transforms.presence import PresenceSettings
from edgewise.pipeline.transforms.recognise import RecogniseSettings
from edgewise.pipeline.transforms.resample import ResampleSettings
from edgewise.pipeline.transforms.thin import ThinSettings
from edgewise.pipeline.transforms.throttle import ThrottleSettings
from edgewise.pipeline.transforms.track import TrackSettings
from edgewise.pipeline.transforms.voice_activity import VoiceActivitySettings
from edgewise.pipeline.transforms.wake_word import WakeWordSettings
from edgewise.pipeline.transforms.window import WindowSettings

SourceSettings: TypeAlias = (
    VideoSettings
    | SoundSettings
    | MicrophoneSettings
    | FolderSettings
    | CameraSettings
    | RtspSettings
    | UploadSettings
    | ReadingsSettings
    | BelowSettings
    | MqttSourceSettings
    | ReplaySettings
    | ModbusSettings
    | OpcUaSettings
    | SerialSettings
    | ExternalSettings
)
TransformSettings: TypeAlias = (
    DetectSettings
    | VoiceActivitySettings
    | WakeWordSettings
    | CommandSettings
    | RecogniseSettings
    | PresenceSettings
    | MotionSettings
    | TrackSettings
    | CountSettings
    | DwellSettings
    | ThrottleSettings
    | DebounceSettings
    | CleanSettings
    | ResampleSettings
    | WindowSettings
    | FeaturesSettings
    | ThinSettings
    | ClassifySettings
    | AnomalySettings
    | ExternalSettings
)


class PipelineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pipeline.

    Attributes:
        source: Where its frames come from.
        transforms: What is done with each frame, in order.
        weight: Its part of the node's computing time, in proportion to the weights of the others, when there is not
            enough for all.
        deadline_s: A sample that has waited longer than this is not worked on any more, and counted; 0 never is.
        evidence: An event that a rule listens to keeps what it was seen with (for a picture: the picture without loss,
            the models, their settings), so that ``edgewise why`` can show and repeat it.
        queue: Samples that wait at most between reading and the first transform; ``null`` is 1 (of a camera, the
            newest), for sound 16.
        when_full: What happens to a frame that finds the queue full; ``null`` leaves it to the source: a live one
            drops the oldest, a stored one waits.
        mask: Polygons that are blanked in every picture before it is worked on, shown, stored or sent. Corners are
            ``[x, y]`` in shares of the picture's width and height, 0..1 from its top left corner.
        record: Clips of events; null records none.
    """

    source: SourceSettings
    transforms: tuple[TransformSettings, ...] = ()
    weight: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    deadline_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    evidence: bool = True
    queue: Annotated[int, Meta(ge=1, le=64)] | None = None
    when_full: WhenFull | None = None
    mask: Annotated[tuple[Polygon, ...], Meta(max_length=64)] = ()
    record: RecordSettings | None = None
