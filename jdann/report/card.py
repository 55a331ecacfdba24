"""The model card of a run or a recogniser: its data and their licences, its use, limits and law."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jdann.pretrained import PRETRAINED_RECIPES
from jdann.pretrained.catalogue import training_data_sentence
from jdann.report.cells import interval_text, number
from jdann.report.estimate_lines import estimate_sentence


class Section(NamedTuple):
    """A heading and the sentences below it."""

    title: str
    lines: tuple[str, ...]


# The key is a word in the name or the description of a corpus.
_LICENCES = {
    "ravdess": "RAVDESS: CC BY-NC-SA 4.0, so not for commercial use (Livingstone & Russo 2018).",
    "casia": "CASIA: by agreement with the Institute of Automation, Chinese Academy of Sciences; "
    "its terms are those that you signed.",
    "esd": "ESD: for research only, by a signed form; its audio may not be passed on "
    "(Zhou et al. 2021).",
    "demo": "Demo corpus: synthesised by espeak-ng (a GPL-3 program); no person has spoken it.",
}
_UNKNOWN_LICENCE = (
    "{}: its licence is not known to jdann; ask the people who gave you the corpus, and ask "
    "whether its speakers have agreed."
)

LAW = Section(
    "Law",
    (
        "European Union: the AI Act (Regulation (EU) 2024/1689) bans systems that infer the "
        "emotions of people at work and in education, except for medical or safety reasons: "
        "Article 5(1)(f), applicable since 2 February 2025.",
        "There, other systems that recognise emotions from voices are high-risk (Annex III, point "
        "1(c)), and people must be told that such a system is used on them (Article 50(3)).",
        "A voice recording is personal data. To record and to analyse it you need a legal ground, "
        "usually the consent of the speaker.",
        "This is information, not legal advice; other countries have their own rules.",
    ),
)
_USE = Section(
    "Intended use",
    (
        "Research on emotion recognition across languages: comparing methods, and measuring them "
        "on labelled speech of your own.",
        "Not for decisions about a person: not for hiring, grading, surveillance, credit, "
        "policing, diagnosis or lie detection.",
    ),
)
_PORTRAYED = (
    "The usual corpora are acted: an actor was asked to sound angry. The model recognises "
    "portrayed emotion and never what a speaker feels."
)
_SYNTHETIC = (
    "The model was trained or scored on synthesised speech: its scores say nothing about people."
)
_ALWAYS_ANSWERS = (
    "The model always chooses one of its emotions, even for speech with no emotion, another "
    "emotion or a mixture. Most sounds without speech get no answer, but not all. It was not "
    "measured on other languages, ages, microphones, noise or spontaneous speech. Its accuracy "
    "differs between speakers."
)


def _label_use(side: str, domain: Mapping[str, Any]) -> str:
    """With which labels a run was trained on a domain; `side` is "source" or "target"."""
    if side == "source":
        return "with its labels"
    count = domain.get("target_labels", 0)
    return f"with the labels of {count:,} utterances" if count else "without labels"


def run_card(results: Mapping[str, Any], corpora: Sequence[str] = ()) -> list[Section]:
    """The model card of a finished run.

    Args:
      results: the content of results.json.
      corpora: further names of the corpora in its domains, such as "ravdess" for a manifest
        "list.csv".

    Returns:
      The sections in reading order.
    """
    return [_model(results), _data(results, corpora), _USE, _limits(results), LAW]


def recogniser_card(
    model: Mapping[str, Any], results: Mapping[str, Any] | None = None
) -> list[Section]:
    """The model card of one recogniser in use.

    Args:
      model: `Recogniser.card`.
      results: the content of results.json of its run, if it is available; the card has no score
        without it.

    Returns:
      The sections in reading order.
    """
    used = _recogniser(model)
    if results is not None:
        used = used._replace(lines=(*used.lines, *_score_of_recogniser(model, results)))
        return [used, *run_card(results)[1:]]
    lines = []
    for side in ("source", "target"):
        domain = model[side]
        labels = _label_use(side, domain)
        size = f"{domain['utterances']:,} utterances"
        lines.append(f"{side.capitalize()}, {labels}: {domain['description']}, {size}.")
        lines += licences([domain["name"], domain["description"]])
    synthetic = model["source"].get("synthetic") or model["target"].get("synthetic")
    limits = [_PORTRAYED, "The scores have not come with the model: see results.json of its run."]
    limits += [_SYNTHETIC] if synthetic else []
    return [
        used,
        Section("Data and its licences", tuple(dict.fromkeys(lines))),
        _USE,
        Section("Limits", (*limits, _ALWAYS_ANSWERS)),
        LAW,
    ]


def _recogniser(model: Mapping[str, Any]) -> Section:
    config, seeds = model["config"], model["seeds"]
    source, target = model["source"]["description"], model["target"]["description"]
    heard_s = config["audio"]["max_duration_s"]
    listed = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return Section(
        "The model",
        (
            f"{model['method']} with {model['encoder']}, {source} → {target}; the probabilities "
            f"are the mean over {listed}.",
            f"It uses the first {heard_s:g} s of a clip, without the silence at both ends, and "
            "does not know who speaks. A timeline covers the whole clip, window after window.",
            f"Its logits are divided by a temperature of {model['temperature']:.2f}; even so, the "
            "probabilities are only a rough guide.",
            *_estimate(model),
            *_pretrained(config),
            f"Trained on {model['date']} by jdann {model['versions'].get('jdann', 'unknown')} "
            "(Apache-2.0).",
        ),
    )


def _pretrained(config: Mapping[str, Any]) -> list[str]:
    """The pretrained encoder of the features, and what it was trained on; [] if there is none."""
    features = config["features"]
    if features["recipe"] not in PRETRAINED_RECIPES:
        return []
    sentence = training_data_sentence(features["encoder"])
    return [
        f"{sentence[0].upper()}{sentence[1:]}. If that holds speech on which the model is "
        "scored, the scores may be too high."
    ]


def _estimate(model: Mapping[str, Any]) -> list[str]:
    """The accuracy that was estimated without labels of the target; empty if there is none."""
    estimate = model.get("calibration", {}).get("estimate")
    return [estimate_sentence(estimate, "the model")] if estimate else []


def _score_of_recogniser(model: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """The score of this recogniser in its run; empty if the run did not score it."""
    job = (model["method"], model["encoder"], model["source"]["name"], model["target"]["name"])
    by_selection = {
        row["selection"]: row
        for row in results["rows"]
        if (row["method"], row["encoder"], row["source"], row["target"]) == job
    }
    row = by_selection.get(model["config"]["selection"]) or by_selection.get("last")
    if row is None:
        return []
    score = (
        f"In its run it reached UAR {number(row['uar'])} on {row['n']:,} utterances of "
        f"{row['target']} ({row['protocol']})"
    )
    if results["normalise"] == "speaker" and not _unknown_speakers(results, "target"):
        return [
            f"{score}. There each speaker was normalised with all of that speaker's audio; expect "
            "a lower score for clips of unknown speakers."
        ]
    return [f"{score}."]


def _unknown_speakers(results: Mapping[str, Any], side: str) -> int:
    """How many utterances of the first direction's source or target have no speaker id."""
    return results["directions"][0][side]["per_speaker"].get("unknown", 0)


def _normalisation(results: Mapping[str, Any]) -> str:
    """How the features were normalised in fact: speakers that are unknown change the choice."""
    texts = {
        "speaker": "normalised per speaker",
        "voice": "normalised by similar voices",
        "corpus": "normalised per corpus",
        "utterance": "normalised per utterance",
        "source": "normalised with the statistics of the source",
        "none": "not normalised",
    }
    text = texts.get(results["normalise"], f"normalised per {results['normalise']}")
    if results["normalise"] != "speaker":
        return text
    fallback = "by similar voices (per corpus if the recipe has no pitch)"
    domains = results["directions"][0]
    unknown = {side: _unknown_speakers(results, side) for side in ("source", "target")}
    # As `jdann.data.pairs` decides: if most target speakers are unknown, the source follows suit.
    if unknown["target"] > domains["target"]["utterances"] / 2:
        return f"normalised {fallback}, because most target speakers are unknown"
    sides = [
        f"{count:,} of {domains[side]['utterances']:,} {side} utterances"
        for side, count in unknown.items()
        if count
    ]
    if not sides:
        return text
    return f"{text}, and {fallback} where the speaker is unknown ({' and '.join(sides)})"


def _model(results: Mapping[str, Any]) -> Section:
    config, versions = results["config"], results["versions"]
    trained = [method for method in config["methods"] if method != "supervised"]
    return Section(
        "Model",
        (
            f"Recognises {', '.join(results['emotions'])}. Each utterance gets one of them, by the "
            "sound of the voice alone and not by the words.",
            f"Methods: {', '.join(trained)}. Encoder: {config['encoder']['name']}. Features: "
            f"{config['features']['recipe']}, {_normalisation(results)}. Checkpoint: "
            f"{config['selection'].replace('_', ' ')}.",
            *_pretrained(config),
            f"Trained on {results['date']} by jdann {versions.get('jdann', 'unknown')} "
            f"(Apache-2.0), jax {versions.get('jax', 'unknown')}, on {results['machine']}, in "
            f"{results['seconds'] / 60:.1f} minutes.",
        ),
    )


def _data(results: Mapping[str, Any], corpora: Sequence[str]) -> Section:
    lines = []
    for direction in results["directions"][:1]:
        for side in ("source", "target"):
            domain = direction[side]
            labels = _label_use(side, domain)
            size = f"{domain['utterances']:,} utterances, {domain['minutes']:.1f} minutes"
            lines.append(f"{side.capitalize()}, {labels}: {domain['description']}, {size}.")
            lines += licences([domain["name"], domain["description"]], corpora)
    return Section("Data and its licences", tuple(dict.fromkeys(lines)))


def licences(names: Sequence[str], corpora: Sequence[str] = ()) -> list[str]:
    """The known licences of a domain.

    Args:
      names: the name and the description of the domain.
      corpora: names of the corpora in the domains of the run. They are used if `names` contain no
        known corpus.

    Returns:
      One sentence for each known corpus, or one sentence that says that the licence is unknown.
    """
    text = " ".join(names).casefold()
    if "demo" in text:
        return [_LICENCES["demo"]]
    known = [sentence for word, sentence in _LICENCES.items() if word in text]
    if not known:
        folded = {name.casefold() for name in corpora}
        known = [sentence for word, sentence in _LICENCES.items() if word in folded]
    return known or [_UNKNOWN_LICENCE.format(names[0])]


def _limits(results: Mapping[str, Any]) -> Section:
    lines = [_PORTRAYED]
    chance = number({"mean": 1 / len(results["emotions"]), "std": None})
    for direction in results["directions"]:
        names = (direction["source"]["name"], direction["target"]["name"])
        rows = [
            row
            for row in results["rows"]
            if row["achievable"]
            and row["selection"] == "last"
            and (row["source"], row["target"]) == names
        ]
        if rows:
            lines.append(_best_score(max(rows, key=lambda row: row["uar"]["mean"]), chance))
        else:
            target = direction["target"]["description"]
            lines.append(f"Its score on {target} is unknown, because the target has no labels.")
    if results["synthetic"]:
        lines.append(_SYNTHETIC)
    if any(
        direction["source"]["name"].split(":")[0] != direction["target"]["name"].split(":")[0]
        for direction in results["directions"]
    ):
        lines.append(
            "Source and target are different corpora. A difference between them may come from the "
            "language or from the recording conditions."
        )
    return Section("Limits", (*lines, _ALWAYS_ANSWERS))


def _best_score(row: Mapping[str, Any], chance: str) -> str:
    """The best achievable row: its score, its weakest emotion, its range over the speakers."""
    score = f"UAR {number(row['uar'])} ({row['protocol']}; chance {chance}"
    if row.get("interval"):
        score += f"; 95% interval over {row['interval']['resampled']} "
        score += interval_text(row["interval"], "uar")
    score += ")"
    text = f"Best score without target labels on {row['target']}: {row['method']}, {score}"
    recall = {
        name: value["mean"] for name, value in row["recall"].items() if value["mean"] is not None
    }
    weakest = min(recall, key=lambda name: recall[name])
    text += f"; the weakest emotion is {weakest} with a recall of {recall[weakest]:.0%}"
    accuracy = [value["mean"] for value in row["per_speaker"].values() if value["mean"] is not None]
    if len(accuracy) > 1:
        text += f"; the accuracy of a speaker is {min(accuracy):.0%} to {max(accuracy):.0%}"
    return text + "."
