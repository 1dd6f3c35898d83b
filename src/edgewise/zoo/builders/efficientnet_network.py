"""EfficientNet-Lite0 in PyTorch, written out so that published weights fit and no downloaded code runs.

The network is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946, table 1) without squeeze-and-excitation and with
ReLU6 for swish. Padding is TensorFlow's ``SAME``, where the weights come from. Names of attributes are those of the
published weights.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Stage(NamedTuple):
    """A row of the table: blocks of one shape, the stride standing for the first of them."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
STEM = 32
HEAD = 1280
_EPSILON = 1e-3


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's ``SAME`` pads pictures whose sides the stride divides."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        before, after = (kernel - stride) // 2, kernel - stride - (kernel - stride) // 2
        self._around = (before, after, before, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads and convolves."""
        return super().forward(functional.pad(x, self._around) if any(self._around) else x)


class Block(nn.Module):
    """An inverted residual: expand, convolve each channel by itself, project."""

    def __init__(self, channels_in: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        wide = channels_in * stage.expansion
        if stage.expansion > 1:
            self._expand_conv = SameConv(channels_in, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._depthwise_conv = SameConv(wide, wide, stage.kernel, stride=stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._project_conv = SameConv(wide, stage.channels, 1)
        self._bn2 = nn.BatchNorm2d(stage.channels, eps=_EPSILON)
        self._expands = stage.expansion > 1
        self._adds = stride == 1 and channels_in == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps height and width, divided by the stride."""
        wide = functional.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow: torch.Tensor = self._bn2(self._project_conv(wide))
        return narrow + x if self._adds else narrow


class EfficientNetLite0(nn.Module):
    """Pictures ``[n, 3, 224, 224]`` to ``[n, classes]`` logits."""

    def __init__(self, *, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, STEM, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(STEM, eps=_EPSILON)
        blocks, channels = [], STEM
        for stage in STAGES:
            for number in range(stage.blocks):
                blocks.append(Block(channels, stage, stride=stage.stride if number == 0 else 1))
                channels = stage.channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv(channels, HEAD, 1)
        self._bn1 = nn.BatchNorm2d(HEAD, eps=_EPSILON)
        self._fc = nn.Linear(HEAD, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        logits: torch.Tensor = self._fc(x.mean((2, 3)))
        return logits
