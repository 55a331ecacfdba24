"""Every key of a jdann run, with its default and its unit. Other configs change a few of these.

`python run.py --config configs/base.py` is the same run as `configs/en2zh.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()

    # --- What is trained on what -------------------------------------------------------------------------------------
    # A domain is `auto:en`, `auto:zh` (ESD where prepared, else the demo corpus), `esd:en`, `esd:zh`, `demo:en`,
    # `demo:zh`, a folder in a known layout, or a manifest `.csv`.
    config.source = "auto:en"
    config.target = "auto:zh"
    config.both_directions = False  # also target -> source, in the same run and table
    config.emotions = ("neutral", "happy", "angry", "sad", "surprise")
    config.methods = ("source_only", "dann")  # names of jdann.methods.METHODS, and "supervised", the labelled ceiling
    config.seeds = 3  # how many seeds, trained in one program
    config.seed = 0  # the first one
    config.seeds_in = "auto"  # "vmap": side by side; "map": one after the other; "auto": vmap on a GPU, map on a CPU
    config.baseline = True  # also the scikit-learn SVM on utterance statistics

    # --- Protocol ----------------------------------------------------------------------------------------------------
    config.protocol = "transductive"  # score the adapted-to audio; "inductive": score unseen target speakers, in folds
    config.folds = 5  # at most, for "inductive" and "supervised"
    config.validation_fraction = 0.1  # of the source, held out by speaker where there are at least eight of them
    config.max_failed_fraction = 0.05  # the run stops when a larger part of a corpus's files cannot be used

    # --- Audio -------------------------------------------------------------------------------------------------------
    config.audio = ConfigDict()
    config.audio.sample_rate_hz = 16000
    config.audio.offset_s = 0.0  # skipped at the beginning
    config.audio.max_duration_s = 5.0  # what is longer is cut, and counted
    config.audio.trim_db = 35.0  # leading and trailing parts this far below the peak are cut; 0: no trimming
    config.audio.level_db = -26.0  # RMS relative to full scale that every utterance is brought to; 0: left as it is

    # --- Features ----------------------------------------------------------------------------------------------------
    config.features = ConfigDict()
    config.features.recipe = "frames"  # or "poster", the 149 time means
    config.features.n_fft = 1024  # samples
    config.features.hop_length = 256  # samples
    config.features.n_mels = 64
    config.features.n_mfcc = 40
    config.features.normalise = "speaker"  # "speaker", "corpus", "utterance", "source" or "none"

    # Inside the training step: a random part of long utterances, and SpecAugment
    config.augment = ConfigDict()
    config.augment.crop_frames = 192  # utterances are trained on in parts of at most this; 0: whole
    config.augment.time_masks = 2
    config.augment.time_mask_frames = 12  # at most, each
    config.augment.frequency_masks = 2
    config.augment.frequency_mask_bins = 8  # at most, each

    # --- Encoder -----------------------------------------------------------------------------------------------------
    config.encoder = ConfigDict()
    config.encoder.name = "conv1d"  # "conv1d" or "resnet50"; several, separated by commas, are run one after the other
    config.encoder.channels = (64, 64, 64, 64)  # conv1d: one entry a layer
    config.encoder.kernel_size = 5  # conv1d: frames
    config.encoder.strides = (2, 2, 2, 1)  # conv1d: one entry a layer
    config.encoder.dropout = 0.3

    # --- Methods -----------------------------------------------------------------------------------------------------
    config.dann = ConfigDict()
    config.dann.hidden = 128  # units of each of the discriminator's two layers
    config.strength = ConfigDict()  # lambda of the gradient reversal
    config.strength.schedule = "ganin"  # 2 / (1 + exp(-gamma p)) - 1, p the part of the training done; or "constant"
    config.strength.maximum = 1.0
    config.strength.gamma = 10.0

    # --- Optimisation ------------------------------------------------------------------------------------------------
    config.epochs = 20  # passes over the source
    config.batch_size = 32  # utterances of each domain in a step
    config.optimiser = ConfigDict()
    config.optimiser.name = "adamw"  # "adamw", "adam" or "sgd"
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = "warmup_cosine"  # "warmup_cosine", "constant" or "one_cycle"
    config.optimiser.warmup_fraction = 0.05  # of all steps
    config.optimiser.weight_decay = 1e-2
    config.optimiser.momentum = 0.9  # sgd
    config.optimiser.clip_norm = 5.0  # global gradient norm; 0: no clipping
    config.label_smoothing = 0.1

    # --- What a run leaves -------------------------------------------------------------------------------------------
    config.evaluate_every = 2  # epochs between two records of the target's outputs, for selection and the oracle column
    config.checkpoint_every_s = 20.0  # seconds, at most, between two checkpoints (always at the end of an epoch)
    config.tsne = True  # draw the representations before and after adaptation (a few seconds a run)

    return config
