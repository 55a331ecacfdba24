"""The model card of a run: data and their licences, intended use, limits, law."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jdann.report.table import number


class Section(NamedTuple):
    """A heading and what stands below it, in words."""

    title: str
    lines: tuple[str, ...]


# By a word in the name or description of a corpus.
_LICENCES = {
    "ravdess": "RAVDESS: CC BY-NC-SA 4.0, so not for commercial use (Livingstone & Russo 2018).",
    "casia": "CASIA: by agreement with the Institute of Automation, Chinese Academy of Sciences; its terms are those you signed.",
    "esd": "ESD: for research only, by a signed form; its audio may not be passed on (Zhou et al. 2021).",
    "demo": "Demo corpus: synthesised by espeak-ng (a GPL-3 program); no person has spoken it.",
}
_UNKNOWN = "{}: its licence is not known to jdann; ask whoever gave you the corpus, and whether its speakers have agreed."

LAW = Section(
    "Law",
    (
        "European Union: the AI Act (Regulation (EU) 2024/1689) bans systems that infer emotions of people at work and in "
        "education, except for medical or safety reasons: Article 5(1)(f), applicable since 2 February 2025.",
        "Other emotion recognition from voice is high-risk there (Annex III, point 1(c)), and people exposed to it must be told "
        "(Article 50(3)).",
        "A voice recording is personal data: recording and analysing one needs a legal ground, as a rule the speaker's consent.",
        "This is information, not legal advice; other countries have rules of their own.",
    ),
)
_USE = Section(
    "Intended use",
    (
        "Research into emotion recognition across languages: comparing methods, and measuring on labelled speech of your own.",
        "Not for decisions about a person: not for hiring, grading, surveillance, credit, policing, diagnosis or lie detection.",
    ),
)
_PORTRAYED = (
    "The usual corpora are acted: an actor was asked to sound angry. What is recognised is portrayed emotion, never what a "
    "speaker feels."
)
_SYNTHETIC = "Trained or scored on synthesised speech: its figures say nothing about people."
_CLOSED = (
    "It must choose one of its emotions, also for speech that shows none, another one, a mixture, or no speech at all. Other "
    "languages, ages, microphones, noise and spontaneous speech have not been measured, and accuracy differs between speakers."
)


def make(results: Mapping[str, Any], corpora: Sequence[str] = ()) -> list[Section]:
    """The model card of a finished run.

    Args:
      results: what results.json holds.
      corpora: further names of the corpora that its domains consist of, such as "ravdess" for a manifest "list.csv".

    Returns:
      The sections, in the order in which they are read.
    """
    return [_model(results), _data(results, corpora), _USE, _limits(results), LAW]


def of_recogniser(
    model: Mapping[str, Any], results: Mapping[str, Any] | None = None
) -> list[Section]:
    """The model card of one recogniser in use.

    Args:
      model: `Recogniser.card`.
      results: what results.json of its run holds, where that is at hand; without it no score is known.
    """
    config, seeds = model["config"], model["seeds"]
    used = Section(
        "What answers here",
        (
            f"{model['method']} with {model['encoder']}, {model['source']['description']} → {model['target']['description']}; the "
            f"probabilities are the mean over {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}.",
            f"It hears the first {config['audio']['max_duration_s']:g} s of a clip, without the silence around it, and knows "
            "nothing of who speaks. A timeline hears all of it, a window at a time.",
            f"Its logits are divided by a temperature of {model['temperature']:.2f}; the probabilities are no more than a guide.",
            f"Trained on {model['date']} by jdann {model['versions'].get('jdann', 'unknown')} (Apache-2.0).",
        ),
    )
    if results is not None:
        return [used._replace(lines=(*used.lines, *_own_score(model, results))), *make(results)[1:]]
    lines = [
        line
        for side, how in (("source", "with its labels"), ("target", "without labels"))
        for line in (
            f"{side.capitalize()}, {how}: {model[side]['description']}, {model[side]['utterances']:,} utterances.",
            *licences([model[side]["name"], model[side]["description"]]),
        )
    ]
    synthetic = model["source"].get("synthetic") or model["target"].get("synthetic")
    limits = [_PORTRAYED, "How good it is has not come with it: see results.json of its run."]
    limits += [_SYNTHETIC] if synthetic else []
    return [
        used,
        Section("Data and its licences", tuple(dict.fromkeys(lines))),
        _USE,
        Section("Limits", (*limits, _CLOSED)),
        LAW,
    ]


def _own_score(model: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """How the run scored this very recogniser, where it could."""
    of = (model["method"], model["encoder"], model["source"]["name"], model["target"]["name"])
    rows = [
        r for r in results["rows"] if (r["method"], r["encoder"], r["source"], r["target"]) == of
    ]
    row = next(
        (r for by in (model["config"]["selection"], "last") for r in rows if r["selection"] == by),
        None,
    )
    if row is None:
        return []
    score = f"Its run gave it UAR {number(row['uar'])} on {row['n']:,} utterances of {row['target']}, {row['protocol']}"
    if results["normalise"] == "speaker":
        return [
            f"{score}, each speaker normalised by all of that speaker's audio. Expect less of a clip of an unknown speaker."
        ]
    return [f"{score}."]


def _model(results: Mapping[str, Any]) -> Section:
    config, versions = results["config"], results["versions"]
    trained = [m for m in config["methods"] if m != "supervised"]
    return Section(
        "Model",
        (
            f"Recognises {', '.join(results['emotions'])}, one of them for each utterance, from the voice alone, not the words.",
            f"Methods: {', '.join(trained)}. Encoder: {config['encoder']['name']}. Features: {config['features']['recipe']}, "
            f"normalised per {results['normalise']}. Checkpoint: {config['selection'].replace('_', ' ')}.",
            f"Trained on {results['date']} by jdann {versions.get('jdann', 'unknown')} (Apache-2.0), "
            f"jax {versions.get('jax', 'unknown')}, on {results['machine']}, in {results['seconds'] / 60:.1f} minutes.",
        ),
    )


def _data(results: Mapping[str, Any], corpora: Sequence[str]) -> Section:
    lines = []
    for direction in results["directions"][:1]:
        for side, how in (("source", "with its labels"), ("target", "without labels")):
            domain = direction[side]
            size = f"{domain['utterances']:,} utterances, {domain['minutes']:.1f} minutes"
            lines.append(f"{side.capitalize()}, {how}: {domain['description']}, {size}.")
            lines += licences([domain["name"], domain["description"]], corpora)
    return Section("Data and its licences", tuple(dict.fromkeys(lines)))


def licences(names: Sequence[str], corpora: Sequence[str] = ()) -> list[str]:
    """What is known of the licences of a domain.

    Args:
      names: the domain's name and description.
      corpora: names of corpora which the run's domains consist of; those that `names` do not tell apart count for each domain.

    Returns:
      One sentence for each known corpus, or one that says that nothing is known.
    """
    text = " ".join(names).casefold()
    if "demo" in text:
        return [_LICENCES["demo"]]
    known = [sentence for word, sentence in _LICENCES.items() if word in text]
    if not known:
        known = [
            sentence
            for word, sentence in _LICENCES.items()
            if word in {c.casefold() for c in corpora}
        ]
    return known or [_UNKNOWN.format(names[0])]


def _limits(results: Mapping[str, Any]) -> Section:
    lines = [_PORTRAYED]
    chance = number({"mean": 1 / len(results["emotions"]), "std": None})
    for direction in results["directions"]:
        of = [
            r
            for r in results["rows"]
            if r["achievable"] and r["selection"] == "last" and _same(r, direction)
        ]
        if of:
            lines.append(_measured(max(of, key=lambda r: r["uar"]["mean"]), chance))
        else:
            lines.append(
                f"How good it is on {direction['target']['description']} is not known: nothing there is labelled."
            )
    if results["synthetic"]:
        lines.append(_SYNTHETIC)
    if any(
        d["source"]["name"].split(":")[0] != d["target"]["name"].split(":")[0]
        for d in results["directions"]
    ):
        lines.append(
            "Source and target are different corpora, so that language and recording conditions are confounded."
        )
    return Section("Limits", (*lines, _CLOSED))


def _same(row: Mapping[str, Any], direction: Mapping[str, Any]) -> bool:
    return (row["source"], row["target"]) == (
        direction["source"]["name"],
        direction["target"]["name"],
    )


def _measured(row: Mapping[str, Any], chance: str) -> str:
    """The best achievable row in a sentence: its score, its weakest emotion, its weakest and strongest speaker."""
    score = f"UAR {number(row['uar'])} ({row['protocol']}; chance {chance})"
    text = f"Best without target labels on {row['target']}: {row['method']}, {score}"
    recall = {
        name: value["mean"] for name, value in row["recall"].items() if value["mean"] is not None
    }
    weakest = min(recall, key=lambda name: recall[name])
    text += f"; weakest on {weakest}, of which it finds {recall[weakest]:.0%}"
    accuracy = [value["mean"] for value in row["per_speaker"].values() if value["mean"] is not None]
    if len(accuracy) > 1:
        text += f"; accuracy from {min(accuracy):.0%} to {max(accuracy):.0%} between speakers"
    return text + "."
