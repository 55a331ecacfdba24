"""Training steps of the same networks in PyTorch, for `train_step.py`."""

import functools
import os
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from network_sizes import BLOCKS, CHANNELS, KERNEL_SIZE, STRIDES
from timing import seconds_of
from torch import nn  # pyright: ignore[reportMissingImports]

Shape = tuple[int, int, int]  # batch, frames, bins


class Conv1d(nn.Module):
    """The 1-D CNN: [batch, bins, frames] to [batch, 2 * channels]."""

    def __init__(self, bins: int):
        super().__init__()
        layers, inputs = [], bins
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            convolution = nn.Conv1d(
                inputs, channels, KERNEL_SIZE, stride, KERNEL_SIZE // 2, bias=False
            )
            layers += [convolution, nn.BatchNorm1d(channels), nn.ReLU()]
            inputs = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        x = self.layers(x)
        return torch.cat([x.mean(-1), (x.var(-1, unbiased=False) + 1e-5).sqrt()], -1)


class Bottleneck(nn.Module):
    """A block of ResNet-50: [batch, inputs, height, width] to 4 * channels."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.BatchNorm2d(4 * channels),
        )
        nn.init.zeros_(self.main[-1].weight)
        self.shortcut = nn.Identity()
        if inputs != 4 * channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * channels, 1, stride, bias=False),
                nn.BatchNorm2d(4 * channels),
            )

    def forward(self, x):
        return torch.relu(self.main(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50: [batch, frames, bins] to [batch, 2048]."""

    def __init__(self):
        super().__init__()
        layers = [
            nn.Conv2d(1, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        inputs = 64
        for stage, blocks in enumerate(BLOCKS):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Bottleneck(inputs, 64 * 2**stage, stride))
                inputs = 256 * 2**stage
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        x = x[:, None]  # [batch, 1, frames, bins]
        return self.layers(x).mean((2, 3))


def find_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_turn(way: str, encoder: str, shape: Shape, steps: int) -> Callable[[], Any]:
    """Returns a function that makes `steps` steps, on a GPU if there is one.

    It uses the memory layout that is faster on this machine.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    features = torch.randn(shape, device=find_device())
    layouts = [torch.contiguous_format]
    if encoder == "resnet50":
        layouts.append(torch.channels_last)
    is_bfloat16 = "bf16" in way
    turns = [make_turn_in_layout(features, encoder, layout, is_bfloat16) for layout in layouts]
    for turn in turns:
        turn(1)
    fastest = min(turns, key=lambda turn: seconds_of(functools.partial(turn, 1)))
    return functools.partial(fastest, steps)


def make_turn_in_layout(
    features: Any, encoder: str, layout: Any, is_bfloat16: bool
) -> Callable[[int], float]:
    """Returns a function from a number of steps to the last loss."""
    device = find_device()
    network = Conv1d(features.shape[2]) if encoder == "conv1d" else ResNet50()
    network = network.to(device).train()
    if layout is torch.channels_last:
        network = network.to(memory_format=layout)
    x = features.transpose(1, 2).contiguous() if encoder == "conv1d" else features
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

    def turn(steps: int) -> float:
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16, enabled=is_bfloat16):
                loss = torch.square(network(x).float() - 1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return loss.item()

    return turn


def make_product(size: int, is_bfloat16: bool) -> Callable[[], Any]:
    """A function that multiplies two square matrices."""
    dtype = torch.bfloat16 if is_bfloat16 else torch.float32
    a = torch.randn(size, size, dtype=dtype, device=find_device())
    return lambda: (a @ a)[0, 0].item()  # waits for the GPU
