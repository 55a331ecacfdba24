"""Every key of a jdann run, with its default and its unit. Other configs change a few of these.

`python run.py --config configs/base.py` trains a DANN and a 1-D CNN on frames.
"""

from ml_collections import ConfigDict

from jdann.methods import METHODS
from jdann.parameters import defaults


def get_config() -> ConfigDict:
    config = ConfigDict()

    # --- What is trained on what ---
    # A domain is `auto:en`, `auto:zh` (ESD where it is prepared, else the demo corpus), `esd:en`,
    # `esd:zh`, `demo:en`, `demo:zh`, a folder in a known layout, or a manifest `.csv`. Several
    # sources are joined by commas; each batch holds the same number of utterances of each source.
    config.source = "auto:en"
    config.target = "auto:zh"
    # How the names of the files in a folder are read: "plain" takes emotions from folders only;
    # "esd", "ravdess", "casia", "emodb", "savee", "tess", "emovo", "crema-d" or "nemo" means the
    # names of that corpus; "auto" recognises these by the values in the names. For several sources,
    # one for all, or one for each, joined by commas
    config.source_layout = "auto"
    config.target_layout = "auto"
    # Words of your own for emotions, like "kızgın=angry,mutlu=happy", or a table with the columns
    # `word` and `emotion`. Words of more than twenty languages are known already. "": none
    config.labels = ""
    # Labels of some clips of the target: a table with the columns `file` and `emotion`, or a
    # folder. The clips are trained on with these labels, and they are not scored. "": none
    config.target_labels = ""
    # How speakers are found if utterances have no speaker id. "names": read from the file names,
    # if the voices confirm it; "voice": similar voices are grouped by a speaker encoder, which pip
    # fetches once (16 MB); "auto": names, else voices; "none": speakers stay unknown, and each
    # utterance is normalised among similar voices
    config.speakers = "auto"
    # Finds the speaker in the path: a regular expression such as r"(sp\d+)_"; "": none
    config.speaker_pattern = ""
    config.both_directions = False  # also target -> source, in the same run and table
    config.emotions = ("neutral", "happy", "angry", "sad", "surprise")
    config.methods = ("source_only", "dann")  # of METHODS in jdann.methods, or "supervised"
    config.seeds = 3  # how many seeds, trained in one program
    config.seed = 0  # the first one
    config.seeds_in = "auto"  # "vmap": at once; "map": in turn; "auto": vmap on a GPU, map on a CPU
    config.baseline = True  # also the scikit-learn SVM on statistics of utterances

    # --- Protocol ---
    # "inductive": scored on target speakers whose audio was not used for adaptation
    config.protocol = "transductive"
    config.folds = 5  # at most, for "inductive" and "supervised"
    config.validation_fraction = 0.1  # of the source; by speaker from eight speakers on
    config.max_failed_fraction = 0.05  # a run stops if more of a corpus's files cannot be used

    audio = config.audio = ConfigDict()
    audio.sample_rate_hz = 16000
    audio.offset_s = 0.0  # skipped at the beginning
    audio.max_duration_s = 5.0  # longer utterances are cut, and counted
    audio.trim_db = 35.0  # both ends are cut while they are this far below the peak; 0: no trimming
    audio.level_db = -26.0  # RMS, relative to full scale, of every utterance; 0: as recorded
    # Utterances without speech are left out, and so are their ends and pauses without speech that
    # last a second or more. False: everything is used, whatever it is
    audio.speech_only = True

    features = config.features = ConfigDict()
    # "frames"; one vector per utterance: "prosody", "statistics", "poster"; or the layers of a
    # pretrained speech encoder: "pretrained" (a vector), "pretrained_frames"
    features.recipe = "frames"
    # Of "pretrained": an id of the Hub, such as "facebook/hubert-base-ls960", or a folder
    features.encoder = ""
    features.encoder_digest = ""  # expected digest of its weights; "" accepts any
    # "mixed": the encoder rounds the factors of products to bfloat16 and sums in float32
    features.encoder_precision = "float32"
    features.layers = "auto"  # hidden states, such as "6" or "5,6,7"; "auto" chooses one
    # The acoustic values before those of the encoder: "prosody", "statistics" or "none".
    # Co-training needs "prosody" or "statistics"
    features.beside = "prosody"
    features.n_fft = 1024  # samples
    features.hop_length = 256  # samples
    features.n_mels = 64
    features.n_mfcc = 40
    features.vector_size = 1  # "vectors": values of each example
    # The channel that the source is sent through before its features are computed. "auto": that
    # of the target, if its spectra show a telephone band or noise; one of
    # jdann.features.channels.CHANNELS; or "none"
    features.channel = "auto"
    features.voice = False  # "frames": also loudness, jitter, shimmer, HNR, formants and more
    # "speaker" (among similar voices if unknown), "voice", "corpus", "utterance", "source", "none"
    features.normalise = "speaker"
    # The statistics of a speaker of n utterances weigh n / (n + relevance), similar voices the rest
    features.relevance = 2.0

    augment = config.augment = ConfigDict()  # in each step: part of an utterance, and SpecAugment
    augment.crop_frames = 192  # the longest part that is trained on; 0: whole utterances
    augment.time_masks = 2
    augment.time_mask_frames = 12  # at most, each
    augment.frequency_masks = 2
    augment.frequency_mask_bins = 8  # at most, each

    encoder = config.encoder = ConfigDict()
    # "conv1d", "resnet50", "mlp" (one vector per utterance) or "pretrained_top" (the blocks of a
    # pretrained encoder above the layer of "pretrained_frames"); "conv1d,resnet50": both
    encoder.name = "conv1d"
    encoder.channels = (64, 64, 64, 64)  # conv1d: one entry per layer
    encoder.kernel_size = 5  # conv1d: frames
    encoder.strides = (2, 2, 2, 1)  # conv1d: one entry per layer
    encoder.hidden = (256, 64)  # mlp: units, one entry per layer
    encoder.input_dropout = 0.1  # mlp: of the statistics
    encoder.batch_norm = False  # mlp; conv1d and resnet50 always have it
    encoder.dropout = 0.3
    encoder.blocks = 2  # pretrained_top: how many blocks above the layer of the features
    encoder.lora_rank = 0  # pretrained_top: 0 trains all weights; r only updates of rank r (LoRA)
    encoder.lora_alpha = 16.0  # pretrained_top: the updates are multiplied by alpha / r
    # pretrained_top: a gradient computes the inside of each block again: slower, with less memory
    encoder.gradient_checkpointing = False

    # The section of each method is the signature of its factory, which explains the parameters.
    for name, factory in METHODS.items():
        if section := defaults(factory):
            config[name] = ConfigDict(section)
    strength = config.strength = ConfigDict()  # lambda: how much the encoder listens to a method
    strength.schedule = "ganin"  # 2 / (1 + exp(-gamma p)) - 1 at part p of training; or "constant"
    strength.maximum = 1.0
    strength.gamma = 10.0

    # --- Optimisation ---
    config.epochs = 20  # passes over the source
    config.batch_size = 32  # utterances of each domain in a step
    # Features (float16) that need more are read from disk. 0: 1 on a CPU, half the memory of a GPU
    config.features_gib = 0.0
    optimiser = config.optimiser = ConfigDict()
    optimiser.name = "adamw"  # "adamw", "adam" or "sgd"
    optimiser.learning_rate = 1e-3
    optimiser.schedule = "warmup_cosine"  # "warmup_cosine", "constant" or "one_cycle"
    optimiser.warmup_fraction = 0.05  # of all steps
    optimiser.weight_decay = 1e-2
    optimiser.momentum = 0.9  # sgd
    optimiser.clip_norm = 5.0  # global norm of the gradient; 0: no clipping
    config.label_smoothing = 0.1
    config.precision = "float32"  # "mixed": convolutions round to bfloat16 and sum in float32
    config.ema = 0.99  # decay per step of the evaluated average of the parameters; 0: no average

    # --- Sweeps and tuning ---
    sweep = config.sweep = ConfigDict()  # every seed with every combination; (): the value above
    sweep.strength = ()  # values of strength.maximum
    sweep.learning_rate = ()  # values of optimiser.learning_rate
    sweep.weight_decay = ()  # values of optimiser.weight_decay
    sweep.criterion = "bnm"  # of jdann.selection: drawn beside the UAR; best-*.json is its choice
    # `jdann tune` searches `space` for the best mean of a criterion over seeds, folds, directions.
    # An entry: ("optimiser.learning_rate", "log", 1e-4, 1e-2), ("encoder.dropout", "uniform", 0.0,
    # 0.5), ("dann.hidden", "int", 32, 256) or ("optimiser.name", "choice", "adamw", "adam", "sgd").
    tune = config.tune = ConfigDict()
    tune.space = ()
    tune.criterion = "bnm"  # of jdann.selection
    tune.trials = 50  # finished or pruned, all workers together
    # "tpe" proposes values like those of the best trials so far. "random" ignores other trials, so
    # that any number of workers runs the same trials; set `prune` to False with it for that
    tune.sampler = "tpe"
    tune.prune = True  # stop a trial that is worse at any record than the median of those before it
    tune.prune_after = 5  # trials that are finished before any is pruned

    # --- What a run leaves ---
    config.selection = "last"  # the checkpoint that is kept; or a criterion of jdann.selection
    config.evaluate_every = 2  # epochs between two records, for selection and the oracle column
    config.checkpoint_every_s = 20.0  # at most; there is always one at the end of an epoch
    config.tsne = True  # draw the representations before and after adaptation (seconds per run)

    return config
