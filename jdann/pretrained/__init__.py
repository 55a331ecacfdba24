"""Speech encoders that others have trained: HuBERT, WavLM, wav2vec2, data2vec and Whisper in Flax.

Samples go in, and the hidden states of every layer come out. The weights are read from the files
that were published, without PyTorch.
"""
