"""The HTML and JSON that belong to a recogniser: its page, its model card, its documentation."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from jdann.errors import InputError
from jdann.experiments import workdir
from jdann.figures.plots import emotion_colour
from jdann.inference.recogniser import Recogniser
from jdann.report import card
from jdann.report.in_short import in_short_of_model
from jdann.web.limits import Limits

log = logging.getLogger("jdann")


class Pages(NamedTuple):
    """What the server shows besides its answers."""

    name: str  # of the model, one line
    index: str  # HTML
    card: str  # HTML
    api: Callable[[str], str]  # from the server's address, such as http://127.0.0.1:8000, to HTML
    info: dict[str, Any]
    openapi: dict[str, Any]


def make_pages(
    recogniser: Recogniser, path: Path, limits: Limits, needs_token: bool = False
) -> Pages:
    """The pages of a recogniser.

    Args:
      recogniser: recognises the uploaded clips.
      path: where the recogniser was loaded from. If its run has a results.json, the model card
        shows the scores of the run too.
      limits: the limits of an upload.
      needs_token: requests must carry a token.
    """
    model = recogniser.card
    source, target = model["source"]["description"], model["target"]["description"]
    facts = {
        "title": f"{source} → {target}",
        "method": model["method"],
        "encoder": model["encoder"],
        "labels": list(recogniser.labels),
        "in_short": in_short_of_model(model),
        "sections": card.recogniser_card(model, _results(path)),
        "megabytes": f"{limits.bytes / 2**20:g}",
        "seconds": f"{limits.duration_s:g}",
        "clips": limits.clips,
        "can_adapt": recogniser.can_adapt,
        "heard": f"{model['config']['audio']['max_duration_s']:g}",
        "needs_token": needs_token,
        "curl_token": '-H "Authorization: Bearer TOKEN" ' if needs_token else "",
        "synthetic": bool(model["source"].get("synthetic") or model["target"].get("synthetic")),
    }
    info = {
        "labels": list(recogniser.labels),
        "colours": [emotion_colour(label) for label in recogniser.labels],
        "source": source,
        "target": target,
        "method": model["method"],
        "encoder": model["encoder"],
        "most_bytes": limits.bytes,
        "most_s": limits.duration_s,
        "most_clips": limits.clips,
        "can_adapt": recogniser.can_adapt,
        "heard_s": model["config"]["audio"]["max_duration_s"],
    }
    environment = Environment(
        loader=PackageLoader("jdann.web", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    api = environment.get_template("api.html.jinja")
    return Pages(
        f"{source} → {target}, {model['method']}, {model['encoder']}",
        environment.get_template("index.html.jinja").render(facts),
        environment.get_template("card.html.jinja").render(facts),
        lambda address: api.render(facts, address=address),
        info,
        openapi(recogniser.labels, limits),
    )


def _results(path: Path) -> dict[str, Any] | None:
    """The results.json of the run from which a recogniser was loaded, if it is still there."""
    for folder in (path, path.parent.parent):
        if (folder / "results.json").exists():
            try:
                return workdir.read_results(folder)
            except InputError as error:  # the recogniser is whole all the same
                log.warning("%s; the page shows nothing of the run", error)
    return None


def openapi(labels: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """The description of the endpoint in OpenAPI 3.1.

    Args:
      labels: the emotions that the recogniser tells apart.
      limits: the limits of an upload.
    """
    probabilities = {
        "type": "object",
        "properties": {label: {"type": "number", "minimum": 0, "maximum": 1} for label in labels},
        "required": list(labels),
    }
    window = {
        "type": "object",
        "properties": {
            "start_s": {"type": "number"},
            "end_s": {"type": "number"},
            "probabilities": {
                "oneOf": [probabilities, {"type": "null"}],
                "description": "null for a window without speech",
            },
        },
    }
    answer = {
        "type": "object",
        "required": ["file", "emotion", "probabilities", "doubt", "duration_s", "heard_s"],
        "properties": {
            "file": {"type": ["string", "null"], "description": "the file name in a form"},
            "emotion": {
                "oneOf": [{"type": "string", "enum": list(labels)}, {"type": "null"}],
                "description": "null if the clip holds no speech",
            },
            "probabilities": {
                "oneOf": [probabilities, {"type": "null"}],
                "description": "null if the clip holds no speech",
            },
            "doubt": {
                "type": ["string", "null"],
                "description": "a short reason to doubt the answer; null if there is none",
            },
            "duration_s": {"type": "number"},
            "heard_s": {"type": "number", "description": "how much of the clip is used"},
            "timeline": {"type": "array", "items": window},
            "picture": {
                "type": "object",
                "description": "waveform and mel spectrogram, as the page draws them",
            },
        },
    }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "description": "one sentence"}},
    }
    options = [
        (
            "one_speaker",
            {"type": "boolean", "default": False},
            "all files are of one person, to whom the model adapts for this request",
        ),
        ("timeline", {"type": "boolean", "default": False}, "also the emotions over time"),
        (
            "window_s",
            {"type": "number", "default": 2},
            "length of a window of the timeline, seconds",
        ),
        (
            "hop_s",
            {"type": "number", "default": 0.5},
            "from the start of one window to the start of the next, seconds",
        ),
        (
            "picture",
            {"type": "boolean", "default": False},
            "also the waveform and the mel spectrogram that the page draws",
        ),
    ]
    reasons = {
        "400": "no audio, a damaged form, several files without one_speaker, or an option that has "
        "no sensible value or is not for this model",
        "401": "the server needs a token, and the request has none or another one",
        "408": f"the request took longer than {limits.seconds:g} s to arrive, or its headers "
        f"longer than {limits.headers_s:g} s",
        "413": f"larger than {limits.bytes / 2**20:g} MB, longer than {limits.duration_s:g} s, "
        f"more than {limits.clips} files, or too much audio once it is decoded; the files of a "
        "request count together",
        "422": "not audio, damaged or too short; of several files, all of them",
        "429": "too many requests or too much audio of one client at once; Retry-After says when "
        "to try again",
        "503": "too many requests at once, or the server stops; Retry-After says when to try again",
    }
    binary = {"type": "string", "format": "binary"}
    files = {
        "type": "array",
        "items": binary,
        "minItems": 1,
        "maxItems": limits.clips,
        "description": "one file; several files only with one_speaker=true",
    }
    form = {"type": "object", "required": ["file"], "properties": {"file": files}}
    body = {
        "application/octet-stream": {"schema": binary},
        "audio/*": {"schema": binary},
        "multipart/form-data": {"schema": form},
    }
    answers = {"oneOf": [answer, _adapted(answer)]}
    descriptions = {"200": ("the emotion of the clip, or of each clip of one person", answers)}
    descriptions |= {status: (reason, error) for status, reason in reasons.items()}
    responses = {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, (text, schema) in descriptions.items()
    }
    operation = {
        "summary": "Recognise the emotion of one clip, or of several clips of one person",
        "parameters": [
            {"name": n, "in": "query", "schema": s, "description": d} for n, s, d in options
        ],
        "requestBody": {
            "required": True,
            "description": "a wav, flac, mp3 or ogg file, or a form with one or more of them",
            "content": body,
        },
        "responses": responses,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "jdann serve", "version": "1"},
        "paths": {"/api/predict": {"post": operation}},
    }


def _adapted(answer: dict[str, Any]) -> dict[str, Any]:
    """The schema of the answers for clips of one person; `answer` is that for one clip."""
    rejected = {
        "type": "object",
        "required": ["file", "error"],
        "properties": {
            "file": answer["properties"]["file"],
            "error": {"type": "string", "description": "why this clip cannot be used"},
        },
    }
    return {
        "type": "object",
        "description": "with one_speaker=true",
        "required": ["adapted_to", "clips"],
        "properties": {
            "adapted_to": {
                "type": "integer",
                "description": "how many clips can be used; the model adapted to all of them",
            },
            "clips": {
                "type": "array",
                "items": {"oneOf": [answer, rejected]},
                "description": "in the order of the files",
            },
        },
    }
