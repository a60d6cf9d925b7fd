"""What the report knows about each model: what it reads, in which order, colour and mark it is drawn.

A model keeps its colour in every figure and table: near Okabe and Ito's, told apart by colour-blind readers, and at 3:1
or more on the light and on the dark page, where the blues are lighter. Nothing is written in it. Shape says what is
read (circle: field potential, square: spikes, diamond: both), filling says how (full: network, hollow: linear).
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelLook:
    """How one model is shown and described."""

    reads: str  # "field potential" | "spikes" | "both" | "chance" | "unknown"
    color: str
    linear: bool
    about: str

    @property
    def marker(self) -> str:
        """The matplotlib marker that says what the model reads."""
        return {"field potential": "o", "spikes": "s", "both": "D", "chance": "x"}.get(self.reads, "P")


_FIELD, _SPIKES, _BOTH = "field potential", "spikes", "both"

_KNOWN = {
    "distilled": ModelLook(
        _FIELD,
        "#D55E00",
        False,
        "The student: a transformer on the field potential, taught to see in it what the teacher sees in the spikes.",
    ),
    "ms-distilled": ModelLook(_FIELD, "#946611", False, "One student distilled over several sessions at once."),
    "ridge-lfp": ModelLook(
        _FIELD,
        "#CC79A7",
        True,
        "Lagged ridge regression from field potential to behaviour: the simple decoder to beat.",
    ),
    "kalman-lfp": ModelLook(_FIELD, "#8F5C7A", True, "Kalman filter from field potential to behaviour."),
    "ms-lfp": ModelLook(
        _FIELD,
        "#009E73",
        False,
        "The same transformer as a masked autoencoder of field potential over all sessions; no teacher.",
    ),
    "ss-lfp": ModelLook(_FIELD, "#C48800", False, "The same autoencoder trained on a single session; no teacher."),
    "teacher": ModelLook(
        _SPIKES, "#0072B2", False, "Masked autoencoder of spikes over all sessions; it teaches the student."
    ),
    "ss-spike": ModelLook(_SPIKES, "#4C78A8", False, "The same autoencoder of spikes trained on a single session."),
    "ridge-spikes": ModelLook(_SPIKES, "#2F9AD4", True, "Lagged ridge regression from spikes to behaviour."),
    "kalman-spikes": ModelLook(_SPIKES, "#3B7EA1", True, "Kalman filter from spikes to behaviour."),
    "ss-mm": ModelLook(_BOTH, "#7570B3", False, "Autoencoder that reads spikes and field potential together."),
    "null": ModelLook(
        "chance", "#8A929C", True, "The same decoding asked for behaviour it cannot know: what chance gives."
    ),
}

_GROUPS = (_FIELD, _SPIKES, _BOTH, "unknown", "chance")
GROUP_TITLES = {
    _FIELD: "field potential alone",
    _SPIKES: "spikes",
    _BOTH: "spikes and field",
    "unknown": "other",
    "chance": "chance",
}
_SPARE_COLORS = ("#7A8B2B", "#B5544F", "#5C6BC0", "#8D6E63")


def look(model: str) -> ModelLook:
    """Return how a model is shown; a model that the report does not know gets a spare colour, always the same one."""
    if model in _KNOWN:
        return _KNOWN[model]
    reads = _FIELD if model.endswith("-lfp") else _SPIKES if model.endswith("-spikes") else "unknown"
    color = _SPARE_COLORS[sum(model.encode()) % len(_SPARE_COLORS)]
    return ModelLook(reads, color, False, "")


def in_order(models: Iterable[str]) -> list[str]:
    """Sort models as the report shows them: field potential, spikes, both, chance; the known ones first."""
    known = list(_KNOWN)

    def rank(model: str) -> tuple[int, int, str]:
        place = known.index(model) if model in known else len(known)
        return _GROUPS.index(look(model).reads), place, model

    return sorted(models, key=rank)


def reads_field_alone(model: str) -> bool:
    """Tell whether a model is known to need nothing but the field potential."""
    return look(model).reads == _FIELD
