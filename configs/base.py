"""Every key of a jdann run, with its default and its unit. Other configs change a few of these.

`python run.py --config configs/base.py` is the same run as `configs/en2zh.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()

    # --- What is trained on what -------------------------------------------------------------------------------------
    # A domain is `auto:en`, `auto:zh` (ESD where prepared, else the demo corpus), `esd:en`, `esd:zh`, `demo:en`,
    # `demo:zh`, a folder in a known layout, or a manifest `.csv`. Several sources are joined by commas; each batch then holds
    # the same number of utterances of each source.
    config.source = "auto:en"
    config.target = "auto:zh"
    config.both_directions = False  # also target -> source, in the same run and table
    config.emotions = ("neutral", "happy", "angry", "sad", "surprise")
    config.methods = (
        "source_only",
        "dann",
    )  # names of jdann.methods.METHODS, and "supervised", the labelled ceiling
    config.seeds = 3  # how many seeds, trained in one program
    config.seed = 0  # the first one
    config.seeds_in = "auto"  # "vmap": side by side; "map": one after the other; "auto": vmap on a GPU, map on a CPU
    config.baseline = True  # also the scikit-learn SVM on utterance statistics

    # --- Protocol ----------------------------------------------------------------------------------------------------
    config.protocol = "transductive"  # score the adapted-to audio; "inductive": score unseen target speakers, in folds
    config.folds = 5  # at most, for "inductive" and "supervised"
    config.validation_fraction = (
        0.1  # of the source, held out by speaker where there are at least eight of them
    )
    config.max_failed_fraction = (
        0.05  # the run stops when a larger part of a corpus's files cannot be used
    )

    # --- Audio -------------------------------------------------------------------------------------------------------
    config.audio = ConfigDict()
    config.audio.sample_rate_hz = 16000
    config.audio.offset_s = 0.0  # skipped at the beginning
    config.audio.max_duration_s = 5.0  # what is longer is cut, and counted
    config.audio.trim_db = (
        35.0  # leading and trailing parts this far below the peak are cut; 0: no trimming
    )
    config.audio.level_db = (
        -26.0
    )  # RMS relative to full scale that every utterance is brought to; 0: left as it is

    # --- Features ----------------------------------------------------------------------------------------------------
    config.features = ConfigDict()
    config.features.recipe = "frames"  # or one vector an utterance: "prosody", "statistics" (also eGeMAPS and all bins) or "poster"
    config.features.n_fft = 1024  # samples
    config.features.hop_length = 256  # samples
    config.features.n_mels = 64
    config.features.n_mfcc = 40
    config.features.voice = False  # "frames": also loudness, jitter, shimmer, HNR, harmonics, formants, spectral balance
    config.features.normalise = "speaker"  # "speaker" (by voice where unknown), "voice", "corpus", "utterance", "source" or "none"
    config.features.relevance = 2.0  # a speaker of n utterances weighs n / (n + relevance) beside voices alike; 0: always wholly

    # Inside the training step: a random part of long utterances, and SpecAugment
    config.augment = ConfigDict()
    config.augment.crop_frames = 192  # utterances are trained on in parts of at most this; 0: whole
    config.augment.time_masks = 2
    config.augment.time_mask_frames = 12  # at most, each
    config.augment.frequency_masks = 2
    config.augment.frequency_mask_bins = 8  # at most, each

    # --- Encoder -----------------------------------------------------------------------------------------------------
    config.encoder = ConfigDict()
    config.encoder.name = "conv1d"  # "conv1d", "resnet50", or "mlp" for utterance statistics; "conv1d,resnet50" runs both
    config.encoder.channels = (64, 64, 64, 64)  # conv1d: one entry a layer
    config.encoder.kernel_size = 5  # conv1d: frames
    config.encoder.strides = (2, 2, 2, 1)  # conv1d: one entry a layer
    config.encoder.hidden = (256, 64)  # mlp: units, one entry a layer
    config.encoder.input_dropout = 0.1  # mlp: of the statistics
    config.encoder.batch_norm = False  # mlp; conv1d and resnet50 always have it
    config.encoder.dropout = 0.3

    # --- Methods -----------------------------------------------------------------------------------------------------
    config.dann = ConfigDict()
    config.dann.hidden = 128  # units of each of the discriminator's two layers
    config.cdan = ConfigDict()  # also cdan_e
    config.cdan.hidden = 128  # units of each of the discriminator's two layers
    config.cdan.direct = (
        4096  # entries; a larger outer product of representation and prediction is projected
    )
    config.cdan.projection = 1024  # entries of the projection
    config.speaker_adversary = ConfigDict()
    config.speaker_adversary.hidden = 128  # units of each of the speaker classifier's two layers
    config.speaker_adversary.reversal = 1.0  # factor of lambda in the reversal
    config.mdd = ConfigDict()
    config.mdd.hidden = 128  # units of the adversarial head's hidden layer
    config.mdd.gamma = 4.0  # weight of the source, exp of the margin
    config.mdd.reversal = 0.1  # strength of the reversal at lambda = 1, and its largest
    config.mcd = ConfigDict()
    config.mcd.encoder_steps = 4  # updates of the encoder in a step, after those of the heads
    config.adda = ConfigDict()
    config.adda.hidden = 128  # units of each of the discriminator's two layers
    config.adda.source_fraction = 0.5  # of the epochs, on the source alone
    config.adda.rate = 0.1  # factor of the learning rate afterwards
    config.wdgrl = ConfigDict()
    config.wdgrl.hidden = 128  # units of each of the critic's two layers
    config.wdgrl.critic_steps = 5  # updates of the critic in a step, before that of the encoder
    config.wdgrl.gamma = 10.0  # weight of the gradient penalty
    config.wdgrl.weight = 0.1  # of the distance, beside lambda
    config.vada = ConfigDict()  # also dirt_t
    config.vada.hidden = 128  # units of each of the discriminator's two layers
    config.vada.reversal = 1.0  # factor of lambda in the reversal
    config.vada.source_weight = 1.0  # of the virtual adversarial loss on the source, beside lambda
    config.vada.target_weight = (
        0.1  # of that on the target and of the target's entropy, beside lambda
    )
    config.vada.radius = (
        0.1  # size of the virtual adversarial change, of the L2 norm of an utterance's features
    )
    config.vada.probe = 0.01  # size of the random change that finds its direction, likewise
    config.dirt_t = ConfigDict()
    config.dirt_t.fraction = 0.7  # of the epochs, as vada; the rest on the target alone
    config.dirt_t.teacher_weight = 1.0  # of the divergence from the moving average, beside lambda
    config.strength = ConfigDict()  # lambda of the gradient reversal
    config.strength.schedule = (
        "ganin"  # 2 / (1 + exp(-gamma p)) - 1, p the part of the training done; or "constant"
    )
    config.strength.maximum = 1.0
    config.strength.gamma = 10.0
    config.deep_coral = ConfigDict()
    config.deep_coral.weight = 100.0  # the loss is tiny, some 1e-3 of the risk: try powers of ten
    config.dan = ConfigDict()
    config.dan.kernels = 5  # Gaussian, bandwidths in steps of a factor of two
    config.dan.weight = 1.0
    config.jan = ConfigDict()
    config.jan.kernels = 5  # of the representation, as in dan
    config.jan.softmax_bandwidth = (
        1.68  # squared distance of two softmaxes at which their kernel is 1/e
    )
    config.jan.weight = 1.0
    config.deep_jdot = ConfigDict()
    config.deep_jdot.alpha = 0.01  # cost of a unit of squared distance between representations
    config.deep_jdot.beta = 0.5  # cost of a nat of cross-entropy
    config.deep_jdot.epsilon = 0.01  # weight of the plan's entropy, in units of the cost
    config.deep_jdot.tau = (
        0.5  # weight of the marginals' divergence: a dearer way is rather not gone
    )
    config.deep_jdot.iterations = 100  # of Sinkhorn, always as many
    config.deep_jdot.weight = 1.0
    config.mcc = ConfigDict()
    config.mcc.temperature = 2.5
    config.mcc.weight = 1.0
    config.bnm = ConfigDict()
    config.bnm.weight = 1.0
    config.bsp = ConfigDict()
    config.bsp.singular_values = 1  # how many of the largest singular values are penalised
    config.bsp.weight = 1e-4
    config.entropy = ConfigDict()
    config.entropy.weight = 0.1
    config.information_maximisation = ConfigDict()
    config.information_maximisation.weight = 1.0
    config.self_training = ConfigDict()
    config.self_training.prior = "uniform"  # classes' shares in the target: "uniform", "none" (as predicted) or "0.4,0.2,..."
    config.self_training.labels = "hard"  # or "soft", the balanced posteriors
    config.self_training.start = 0.2  # part of the training before the first pseudo-labels
    config.self_training.first_fraction = 0.3  # of each class that gets a pseudo-label, then
    config.self_training.last_fraction = 0.9  # and at the end
    config.self_training.iterations = 50  # of Sinkhorn
    config.self_training.weight = 1.0
    config.co_training = ConfigDict()  # needs features.recipe "statistics"
    config.co_training.prior = "none"  # as in self_training
    config.co_training.shrinkage = 0.7  # of the discriminants' covariance, 0 to 1
    config.co_training.rounds_first = 10  # of expectation-maximisation on the prosodic statistics
    config.co_training.rounds = (
        6  # of labelling on all statistics; 0: the first view's labels are kept
    )
    config.co_training.folds = 5  # of the target, each labelled by what was learnt on the others
    config.co_training.kept_fraction = (
        0.7  # of each class, the most confident labels, which the next round learns from
    )
    config.co_training.source_weight = 0.1  # of the source beside the target, on all statistics
    config.co_training.iterations = 50  # of Sinkhorn
    config.co_training.weight = 10.0
    config.shot = ConfigDict()
    config.shot.source_fraction = 0.5  # of the epochs, on the source alone
    config.shot.rate = 1.0  # learning rate on the target relative to that on the source
    config.shot.pseudo_weight = 0.3  # of the pseudo-labels' cross-entropy
    config.shot.weight = 1.0
    config.fixmatch = ConfigDict()
    config.fixmatch.threshold = (
        0.8  # probability; label smoothing keeps it well below the paper's .95
    )
    config.fixmatch.weight = 1.0
    config.adamatch = ConfigDict()
    config.adamatch.threshold = 0.9  # relative to the source's mean confidence
    config.adamatch.weight = 1.0
    config.sup_con = ConfigDict()
    config.sup_con.temperature = 0.1  # of the cosine similarity
    config.sup_con.weight = 0.1

    # --- Optimisation ------------------------------------------------------------------------------------------------
    config.epochs = 20  # passes over the source
    config.batch_size = 32  # utterances of each domain in a step
    # Frames of both corpora, in float16, are held on the device where they fit into this, else read from disk step by step.
    config.features_gib = 0.0  # GiB; 0: 1 on a CPU, half the memory of a GPU
    config.optimiser = ConfigDict()
    config.optimiser.name = "adamw"  # "adamw", "adam" or "sgd"
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = "warmup_cosine"  # "warmup_cosine", "constant" or "one_cycle"
    config.optimiser.warmup_fraction = 0.05  # of all steps
    config.optimiser.weight_decay = 1e-2
    config.optimiser.momentum = 0.9  # sgd
    config.optimiser.clip_norm = 5.0  # global gradient norm; 0: no clipping
    config.label_smoothing = 0.1
    config.precision = "float32"  # or "mixed": convolutions round to bfloat16 and sum in float32; the rest stays float32
    config.ema = 0.99  # decay a step of the moving average of the parameters, which is evaluated; 0: the parameters themselves

    # --- Sweeps and tuning -------------------------------------------------------------------------------------------
    # `jdann sweep` trains every seed at every combination in one program. An empty one: the value above.
    config.sweep = ConfigDict()
    config.sweep.strength = ()  # values of strength.maximum
    config.sweep.learning_rate = ()  # values of optimiser.learning_rate
    config.sweep.weight_decay = ()  # values of optimiser.weight_decay
    config.sweep.criterion = (
        "bnm"  # of jdann.selection: drawn beside the UAR; best-*.json is its choice
    )

    # `jdann tune` searches `space` for what a criterion prefers, the mean over seeds, folds and directions. Each entry is a key of
    # this file and where to look: ("optimiser.learning_rate", "log", 1e-4, 1e-2), ("encoder.dropout", "uniform", 0.0, 0.5),
    # ("dann.hidden", "int", 32, 256) or ("optimiser.name", "choice", "adamw", "adam", "sgd").
    config.tune = ConfigDict()
    config.tune.space = ()
    config.tune.criterion = "bnm"  # of jdann.selection
    config.tune.trials = 50  # finished or pruned, all workers together
    config.tune.prune = (
        True  # stop a trial that is worse than the median of those before it, at any record
    )
    config.tune.prune_after = 5  # trials that are finished before any is pruned

    # --- What a run leaves -------------------------------------------------------------------------------------------
    config.selection = "last"  # the checkpoint that is kept as the recogniser: "last", or a criterion of jdann.selection
    config.evaluate_every = (
        2  # epochs between two records of the target's outputs, for selection and the oracle column
    )
    config.checkpoint_every_s = (
        20.0  # seconds, at most, between two checkpoints (always at the end of an epoch)
    )
    config.tsne = True  # draw the representations before and after adaptation (a few seconds a run)

    return config
