"""`spikefield doctor`: what this machine offers and what the installation lacks, before any recording is touched."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

_SHOWN = ("torch", "lightning", "ray", "torch-brain", "jsonargparse", "numpy", "scipy", "h5py")
_UNLISTED_EXTRAS = ("dev",)
_SCARCE_BYTES = 2e9


@dataclass(frozen=True)
class Line:
    """One line of the answer; what is not `sound` keeps the commands from working."""

    what: str
    found: str
    sound: bool = True


def doctor() -> int:
    """Print versions, processors, GPUs, memory, disk and optional extras; exit status 1 where something is missing."""
    lines = [*_python(), *_packages(), *_processors(), *_room(), *_extras()]
    width = max(len(line.what) for line in lines)
    for line in lines:
        print(f"{'ok' if line.sound else 'NO':<3} {line.what:<{width}}  {line.found}")
    broken = [line.what for line in lines if not line.sound]
    print(f"\n{', '.join(broken)}: mend the lines that begin with NO." if broken else "\nAll that is required works.")
    return 1 if broken else 0


def _python() -> Iterator[Line]:
    yield Line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", _python_fits())
    yield Line("spikefield", importlib.metadata.version("spikefield"))


def _python_fits() -> bool:
    return sys.version_info >= (3, 11)


def _packages() -> Iterator[Line]:
    """Show the packages that matter most, and every required one that is missing or of a wrong version."""
    for requirement in _required(extra=""):
        lack = lacking(requirement)
        if lack or requirement.name in _SHOWN:
            yield Line(requirement.name, lack or importlib.metadata.version(requirement.name), not lack)


def _required(*, extra: str) -> list[Requirement]:
    """Return what spikefield needs, or what one of its extras adds."""
    found = map(Requirement, importlib.metadata.requires("spikefield") or [])
    always, wanted = {"extra": ""}, {"extra": extra}
    return [
        requirement
        for requirement in found
        if (requirement.marker is None or requirement.marker.evaluate(wanted))
        and (not extra or (requirement.marker is not None and not requirement.marker.evaluate(always)))
    ]


def lacking(requirement: Requirement) -> str:
    """Say what is wrong with the installed version of a requirement and how to mend it; "" where nothing is."""
    remedy = f"Run: pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed. {remedy}"
    fits = requirement.specifier.contains(version, prereleases=True)
    return "" if fits else f"{version}, but {requirement.specifier} is needed. {remedy}"


def _processors() -> Iterator[Line]:
    """Try each device with one small product, in float32 and in bfloat16."""
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    yield Line("processors", f"{_usable_cores()} of {os.cpu_count()} usable, OMP_NUM_THREADS {threads}")
    try:
        import torch
    except Exception as error:  # whatever breaks this import breaks training
        yield Line("torch on cpu", f"cannot be imported ({_one_line(error)}). Install it again.", sound=False)
        return
    trial = _trial("cpu")
    yield Line("torch on cpu", f"{torch.get_num_threads()} threads; {trial}", "float32 works" in trial)
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        memory_gb = torch.cuda.get_device_properties(index).total_memory / 1e9
        yield Line(name, f"{torch.cuda.get_device_name(index)}, {memory_gb:.0f} GB; {_trial(name)}")
    if not torch.cuda.device_count():
        yield Line("cuda", "none; training uses the processors")
    if platform.system() == "Darwin":
        there = torch.backends.mps.is_available()
        yield Line("mps", _trial("mps") if there else "none; training uses the processors")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trial(device: str) -> str:
    """Say in which precisions a product of two small matrices works on a device."""
    import torch

    said = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        try:
            square = torch.ones(8, 8, dtype=dtype, device=device)
            works = float((square @ square).sum()) == 512
            said.append(f"{name} {'works' if works else 'computes wrongly and fails'}")
        except (RuntimeError, NotImplementedError) as error:
            said.append(f"{name} fails ({_one_line(error)})")
    return ", ".join(said)


def _room() -> Iterator[Line]:
    memory = psutil.virtual_memory()
    yield Line("memory", f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    for what, folder in (("disk, here", Path.cwd()), ("disk, temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        rights = "" if os.access(folder, os.W_OK) else ". Not writable: change to a folder that is."
        scarce = ". Free some room." if free < _SCARCE_BYTES else ""
        yield Line(what, f"{free / 1e9:.1f} GB free in {folder}{rights or scarce}", not rights)


def _extras() -> Iterator[Line]:
    """Tell of each extra whether it is there, or how to install it; none is required."""
    for extra in importlib.metadata.metadata("spikefield").get_all("Provides-Extra") or []:
        if extra in _UNLISTED_EXTRAS:
            continue
        missing = [requirement.name for requirement in _required(extra=extra) if lacking(requirement)]
        yield Line(f"extra {extra}", _advice(extra, missing))


def _advice(extra: str, missing: Sequence[str]) -> str:
    if not missing:
        return "installed"
    return f"lacks {', '.join(missing)}; if you want it: pip install 'spikefield[{extra}]'"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


__all__ = ["doctor"]
