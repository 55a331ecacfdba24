"""Speech encoders that others have trained: HuBERT, WavLM, wav2vec2, data2vec and Whisper in Flax.

Samples go in, and the hidden states of every layer come out. The weights are read from the files
that were published, without PyTorch.
"""

# The recipes of features that use an encoder: one vector per utterance, or frames.
PRETRAINED, PRETRAINED_FRAMES = "pretrained", "pretrained_frames"
PRETRAINED_RECIPES = (PRETRAINED, PRETRAINED_FRAMES)
