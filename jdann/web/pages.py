"""The HTML and JSON that go with a recogniser: its page, its model card, and the endpoint's documentation."""

from pathlib import Path
from typing import Any, NamedTuple

from jdann.experiments import workdir
from jdann.figures.plots import emotion_colour
from jdann.inference.recogniser import Recogniser
from jdann.report import card
from jdann.web.uploads import Limits


class Pages(NamedTuple):
    """What the server shows besides its answers."""

    index: str
    card: str
    api: str
    info: dict[str, Any]
    openapi: dict[str, Any]

    @classmethod
    def of(cls, recogniser: Recogniser, path: Path, limits: Limits) -> "Pages":
        """The pages of a recogniser.

        Args:
          recogniser: what answers.
          path: where it was loaded from; its run's results.json, where there is one, makes the model card richer.
          limits: what is accepted.
        """
        from jinja2 import Environment, PackageLoader, StrictUndefined

        found = next((p for p in (path, path.parent.parent) if (p / "results.json").exists()), None)
        results = None if found is None else workdir.read_json(found / "results.json")
        model = recogniser.card
        facts = {
            "title": f"{model['source']['description']} → {model['target']['description']}",
            "method": model["method"],
            "encoder": model["encoder"],
            "labels": list(recogniser.labels),
            "sections": card.of_recogniser(model, results),
            "megabytes": f"{limits.bytes / 2**20:g}",
            "seconds": f"{limits.duration_s:g}",
            "heard": f"{model['config']['audio']['max_duration_s']:g}",
            "synthetic": bool(model["source"].get("synthetic") or model["target"].get("synthetic")),
        }
        environment = Environment(
            loader=PackageLoader("jdann.web", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        index, about, api = (
            environment.get_template(f"{name}.html.jinja").render(facts)
            for name in ("index", "card", "api")
        )
        info = {
            "labels": list(recogniser.labels),
            "colours": [emotion_colour(label) for label in recogniser.labels],
            "source": model["source"]["description"],
            "target": model["target"]["description"],
            "method": model["method"],
            "encoder": model["encoder"],
            "most_bytes": limits.bytes,
            "most_s": limits.duration_s,
            "heard_s": model["config"]["audio"]["max_duration_s"],
        }
        return cls(index, about, api, info, openapi(recogniser.labels, limits))


def openapi(labels: tuple[str, ...], limits: Limits) -> dict[str, Any]:
    """The endpoint in OpenAPI 3.1."""
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
                "description": "null where nothing is heard",
            },
        },
    }
    answer = {
        "type": "object",
        "required": ["file", "emotion", "probabilities", "duration_s", "heard_s"],
        "properties": {
            "file": {"type": ["string", "null"], "description": "the name that a form gave"},
            "emotion": {"type": "string", "enum": list(labels)},
            "probabilities": probabilities,
            "duration_s": {"type": "number"},
            "heard_s": {"type": "number", "description": "how much of the clip decides"},
            "timeline": {"type": "array", "items": window},
            "picture": {
                "type": "object",
                "description": "waveform and mel spectrogram, for the page",
            },
        },
    }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "description": "one sentence"}},
    }
    options = [
        ("timeline", {"type": "boolean", "default": False}, "also the emotions over time"),
        (
            "window_s",
            {"type": "number", "default": 2},
            "length of a window of the timeline, seconds",
        ),
        (
            "hop_s",
            {"type": "number", "default": 0.5},
            "from one window's beginning to the next one's, seconds",
        ),
        ("picture", {"type": "boolean", "default": False}, "also what the page draws"),
    ]
    reasons = {
        "400": "no audio, a damaged form, or an option that makes no sense",
        "408": f"the upload took longer than {limits.seconds:g} s",
        "413": f"larger than {limits.bytes / 2**20:g} MB or longer than {limits.duration_s:g} s",
        "422": "not audio, damaged, silent or too short",
        "503": "too many requests at once; Retry-After says when to try again",
    }
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary}}
    body = {
        "application/octet-stream": {"schema": binary},
        "audio/*": {"schema": binary},
        "multipart/form-data": {"schema": form},
    }
    responses = {
        "200": {
            "description": "what was recognised",
            "content": {"application/json": {"schema": answer}},
        },
        **{
            code: {"description": why, "content": {"application/json": {"schema": error}}}
            for code, why in reasons.items()
        },
    }
    operation = {
        "summary": "Recognise the emotion of one clip",
        "parameters": [
            {"name": n, "in": "query", "schema": s, "description": d} for n, s, d in options
        ],
        "requestBody": {
            "required": True,
            "description": "a wav, flac, mp3 or ogg file",
            "content": body,
        },
        "responses": responses,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "jdann serve", "version": "1"},
        "paths": {"/api/predict": {"post": operation}},
    }
