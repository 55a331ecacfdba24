"""The sizes of the networks that benchmarks compare across libraries."""

SHAPES = {"conv1d": (128, 251, 176), "resnet50": (32, 128, 188)}  # batch, frames, bins

# The 1-D CNN.
CHANNELS, KERNEL_SIZE, STRIDES = (128, 128, 128, 128), 5, (2, 1, 2, 1)

# ResNet-50: the number of blocks in each stage.
BLOCKS = (3, 4, 6, 3)
