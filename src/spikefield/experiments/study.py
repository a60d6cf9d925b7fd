"""Which models an experiment trains, in which regime, and on which sessions the shared ones are pretrained.

teacher        spikes of many sessions (the paper's MS-Spike)      ss-spike   spikes of one session
ms-lfp         field of many sessions                              ss-lfp     field of one session
distilled      student of the sessions that are distilled on       ss-mm      spikes and field of one session
ms-distilled   student of every paired session that was pretrained on as well
"""

from dataclasses import dataclass

from spikefield.errors import InputError

SINGLE = {"ss-lfp": ("lfp",), "ss-spike": ("spikes",), "ss-mm": ("spikes", "lfp")}
STUDENTS = ("distilled", "ms-distilled")
MODELS = ("teacher", *STUDENTS, "ms-lfp", *SINGLE)


@dataclass(frozen=True)
class Study:
    """What is trained. A session that is distilled on but not pretrained on is fine-tuned to first, without labels.

    `pretrain_on` None is every session that holds the modality, and every session then has its own single-session
    models; else those that are distilled on have. `supervised` goes on with the behaviour of training time:
    autoencoders by fine-tuning with a regression beside, students by Eq. 3.
    """

    models: tuple[str, ...] = ("teacher", "distilled", "ms-lfp", "ss-lfp")
    pretrain_on: tuple[str, ...] | None = None
    supervised: bool = False

    def __post_init__(self) -> None:
        if unknown := [m for m in self.models if m not in MODELS]:
            raise InputError(f"`models` must be of {', '.join(MODELS)}, got {unknown[0]!r}. Name some of them.")
        if not self.models or len(set(self.models)) != len(self.models):
            raise InputError(f"`models` must be one or more different models, got {list(self.models)}. Name each once.")

    @property
    def regime(self) -> str:
        """The regime as `results.csv` names it."""
        return "supervised" if self.supervised else "unsupervised"


MAIN_JOB = Study()
