"""Groups of voices on bad channels: what they gain or lose, and which of them a run uses.

    python benchmarks/voice_groups.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/voice_groups.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each manifest needs the columns speaker and emotion. For each ordered pair of corpora, and with the
target as it is and through each channel, the target is normalised in four ways: by its true ids, by
groups of voices whatever they follow, by these groups only if a run would use them, and among
similar voices. The source is sent through the channel that is recognised, as in a run. The table
has the unweighted average recall of the labels by co-training, which are computed in closed form;
no network is trained. It also tells how much the groups agree with the persons and with the
emotions (adjusted Rand index). Target labels are used for scoring only, and true ids only in the
first way.
"""

from itertools import permutations
from pathlib import Path

import jax
import numpy as np
from channel_degradations import DEGRADATIONS
from channels import make_part
from command_line import make_parser
from labelling import name_manifests
from labelling_parts import Task
from markdown_table import header, row
from sklearn.metrics import adjusted_rand_score
from speakers import find_groups, hide_speakers, is_used, make_task, score
from trust_tasks import CHANNELS, CLEAN, load_channels

from jdann.experiments.channels import match_channel
from jdann.files import default_data_dir
from jdann.speakers.clusters import VoiceGroups

WAYS = ("ids known", "groups, always", "groups, as a run uses them", "similar voices")


def score_all(task: Task, groups: VoiceGroups, relevance: float) -> tuple[list[float], bool]:
    """The scores of WAYS, and whether a run uses the groups."""
    hidden = task._replace(target=hide_speakers(task.target))
    grouped = hidden._replace(target=hidden.target._replace(groups=groups))
    scores = [score(way, relevance) for way in (task, grouped, hidden)]
    used = is_used(groups, task.target)
    return [scores[0], scores[1], scores[1] if used else scores[2], scores[2]], used


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument("--channels", nargs="*", default=list(CHANNELS), choices=list(DEGRADATIONS))
    arguments = parser.parse_args()
    data_dir = arguments.data_dir or default_data_dir()
    channels = () if arguments.tiny else arguments.channels
    loaded, settings, folder = load_channels(
        name_manifests(arguments.manifests), data_dir, channels
    )
    ends = ("groups", "follow persons", "follow emotions", "used")
    columns = ("source", "target", "channel", *WAYS, *ends)
    print(header(columns, ["---"] * 3 + ["---:"] * (len(columns) - 4) + ["---"]), flush=True)
    rows: dict[str, list[list[float]]] = {channel: [] for channel in loaded}
    pairs = list(permutations(loaded[CLEAN], 2))
    for source, target in pairs[:1] if arguments.tiny else pairs:
        for channel in loaded:
            start, end = loaded[CLEAN][source], loaded[channel][target]
            if end.vectors is None:
                return
            matched = match_channel(start.domain, end.domain, settings, folder, "auto")
            task = make_task(make_part(matched), end.part)
            groups = find_groups(task, end.vectors, settings.relevance)
            scores, used = score_all(task, groups, settings.relevance)
            rows[channel].append(scores)
            utterances = task.target.utterances
            agreements = (
                adjusted_rand_score([u.speaker or "" for u in utterances], groups.number),
                adjusted_rand_score([u.emotion or "" for u in utterances], groups.number),
            )
            texts = [f"{value:.3f}" for value in (*scores, *agreements)]
            texts.insert(len(WAYS), str(groups.count))
            print(row(source, target, channel, *texts, "yes" if used else "no"), flush=True)
        jax.clear_caches()  # every size of a target is a program of its own
    for channel, scores in rows.items():
        print(row("mean", "", channel, *(f"{value:.3f}" for value in np.mean(scores, 0))))


if __name__ == "__main__":
    main()
