"""The command line: one function a command, flags from its signature; nothing heavy is imported before it is needed."""

import importlib
import importlib.metadata
import inspect
import logging
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from spikefield.errors import InputError

COMMANDS = {
    "init": ("spikefield.experiments.init", "look at a folder of recordings and write experiment.yaml for it"),
    "demo": ("spikefield.experiments.commands", "simulate four sessions and run the whole experiment on them"),
    "simulate": ("spikefield.experiments.commands", "write simulated recordings"),
    "download": ("spikefield.preparation.commands", "list or fetch the files of a public data set"),
    "inspect": ("spikefield.preparation.commands", "print what a recording holds, without loading it"),
    "prepare": ("spikefield.preparation.commands", "turn recordings into prepared sessions"),
    "validate": ("spikefield.preparation.commands", "check prepared sessions and say what each can be used for"),
    "chain": ("spikefield.experiments.chain", "print what a signal chain does to the field, and its delay"),
    "bleed": ("spikefield.experiments.bleed", "say whether the field that is read could be spikes bleeding into it"),
    "experiment": ("spikefield.experiments.commands", "teacher, autoencoders, student, baselines and the report"),
    "plan": ("spikefield.experiments.planning", "say what every stage would cost, here or on another machine"),
    "pretrain": ("spikefield.experiments.commands", "train a masked autoencoder on spikes or field"),
    "finetune": ("spikefield.experiments.commands", "go on training it on known or new sessions, without labels"),
    "distill": ("spikefield.experiments.commands", "train a field student towards a frozen spike teacher"),
    "embed": ("spikefield.experiments.commands", "write a model's representation of every bin"),
    "evaluate": ("spikefield.experiments.commands", "score a model's representations on test time"),
    "stream": ("spikefield.deploy.commands", "decode a live stream, or a recording as if it were one"),
    "adapt": ("spikefield.deploy.commands", "fit the readout to a few labelled minutes at the rig"),
    "export": ("spikefield.deploy.commands", "write a model as ONNX files, checked before they are written"),
    "reproduce": ("spikefield.experiments.reproduce", "run one of the paper's experiments, all its variants"),
    "audit": ("spikefield.experiments.audit", "re-check a finished experiment for leaks, one line a check"),
    "report": ("spikefield.experiments.commands", "write an experiment's report again"),
    "doctor": ("spikefield.experiments.doctor", "say what this machine offers, and what an installation lacks"),
    "completion": ("spikefield.completion", "print a script that lets the shell complete commands and flags"),
}
_DEFAULT_PRESET = "quick"
_LARGEST_CONFIG_BYTES = 1 << 20


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a caller's mistake is one line on standard error and exit status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] == "--version":
        print(importlib.metadata.version("spikefield"))
        return
    sys.exit(_run(arguments[0], arguments[1:]))


def _run(name: str, flags: list[str]) -> int:
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("spikefield").setLevel(logging.INFO)
    warnings.showwarning = _show_warning
    try:
        if name not in COMMANDS:
            raise InputError(f"`command` must be one of {', '.join(COMMANDS)}, got {name!r}. See `spikefield --help`.")
        return _call(name, _function(name), [_underscored(flag) for flag in flags])
    except InputError as error:
        return _fail(str(error), status=2)
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        return _fail("interrupted; run the same command again to continue", status=128 + number)
    except OSError as error:
        if error.strerror is None:
            raise
        where = error.filename if error.filename is not None else "a file"
        return _fail(f"{where}: {error.strerror}. Check the path, its rights and the disk.", status=2)


def _function(name: str) -> Callable[..., int | None]:
    return getattr(importlib.import_module(COMMANDS[name][0]), name)


def _underscored(flag: str) -> str:
    """Let `--distill-on` stand for `--distill_on`."""
    name, equals, value = flag.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if flag.startswith("--") else flag


def _fail(message: str, *, status: int) -> int:
    print(f"spikefield: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    from spikefield.errors import DroppedDataWarning

    if issubclass(category, DroppedDataWarning):
        print(f"warning: {message}", file=sys.stderr)


def _call(name: str, function: Callable[..., int | None], flags: list[str]) -> int:
    """Parse the flags by the function's signature, call it and return its exit status; most return None for 0."""
    parameters = inspect.signature(function, eval_str=True).parameters
    flags = _switched(flags, parameters)
    parser = _parser_of(name, function, preset=_preset(flags) if "config" in parameters else None)
    try:
        values = vars(parser.instantiate(parser.parse_args(flags)))
    except InputError:
        raise
    except (ArgumentError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{error}. See `spikefield {name} --help`.") from error
    return function(**_arguments(values, parameters)) or 0


def parser_of(name: str) -> Any:
    """Return the parser of a command, a jsonargparse one, with the defaults of the code and not of a preset."""
    return _parser_of(name, _function(name), preset=None)


def _parser_of(name: str, function: Callable[..., int | None], *, preset: Path | None) -> Any:
    from jsonargparse import ArgumentParser

    parameters = inspect.signature(function, eval_str=True).parameters
    lists = {p: item for p in parameters if (item := _item_type(parameters[p].annotation)) is not None}
    parser = ArgumentParser(
        prog=f"spikefield {name}",
        description=(inspect.getdoc(function) or "").split("\n", 1)[0],
        default_config_files=[] if preset is None else [str(preset)],
        exit_on_error=False,
    )
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for parameter in positional:
        _add_one(parser, parameter.name, parameter, lists, function)
    parser.add_function_arguments(function, skip={"config", *lists, *(p.name for p in positional)}, as_group=False)
    for parameter in (p for p in parameters.values() if p.name in lists and p not in positional):
        _add_one(parser, f"--{parameter.name}", parameter, lists, function)
    if "config" in parameters:
        _add_config(parser)
    return parser


def _switched(flags: list[str], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Let a flag that is on or off stand alone for on."""
    alone = {f"--{p.name}" for p in parameters.values() if p.annotation is bool}
    followed = [*flags, "--"][1:]
    return [
        f"{flag}=true" if flag in alone and then.startswith("--") else flag
        for flag, then in zip(flags, followed, strict=True)
    ]


def _arguments(values: dict[str, Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Gather the fields of the configuration, which are flags of their own, into one object."""
    if "config" not in parameters:
        return values
    from spikefield.config import ExperimentConfig

    config = ExperimentConfig(**{f.name: values[f.name] for f in fields(ExperimentConfig)})
    return {p: values[p] for p in parameters if p != "config"} | {"config": config}


def _preset(flags: list[str]) -> Path:
    """Return the preset's file, which has to be known before the flags are parsed; a flag wins over a config file."""
    from spikefield.config import preset_path

    config = _value_of("--config", flags)
    if config is not None:
        _check_config(Path(config))
    in_file = None if config is None else _preset_in(Path(config))
    named = _value_of("--preset", flags)
    return preset_path(named if named is not None else in_file or _DEFAULT_PRESET)


def _value_of(wanted: str, flags: list[str]) -> str | None:
    for flag, value in zip(flags, [*flags, ""][1:], strict=True):
        if flag == wanted:
            return value
        if flag.startswith(f"{wanted}="):
            return flag.removeprefix(f"{wanted}=")
    return None


def _check_config(config: Path) -> None:
    """Refuse a config file that a few lines blow up to gigabytes; what else is wrong is said by the parser."""
    import yaml

    if config.is_file() and config.stat().st_size > _LARGEST_CONFIG_BYTES:
        raise InputError(f"`config` {config} is larger than {_LARGEST_CONFIG_BYTES} bytes. Give a file of flags.")
    try:
        tokens = list(yaml.scan(config.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return
    if any(isinstance(token, yaml.AliasToken) for token in tokens):
        raise InputError(f"`config` {config} holds YAML aliases (`*name`). Write each value where it belongs.")


def _preset_in(config: Path) -> str | None:
    """Return the preset that a config file names, if any; which flags in it are wrong is said by the parser."""
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError:
        return None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{config}: not readable YAML ({' '.join(str(error).split())[:120]}). Mend it.") from error
    return str(content["preset"]) if isinstance(content, dict) and "preset" in content else None


def _add_config(parser: Any) -> None:
    from jsonargparse import ActionConfigFile  # pyright: ignore[reportPrivateImportUsage]

    from spikefield.config import PRESETS, ExperimentConfig

    parser.add_class_arguments(ExperimentConfig, as_group=False)
    parser.add_argument("--preset", type=str, default=_DEFAULT_PRESET, help=f"start from one of {', '.join(PRESETS)}")
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file of flags; later flags win")


def _item_type(annotation: Any) -> type | None:
    """Return X of `list[X]` or `list[X] | None`, whose values follow the flag one by one; else None."""
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((get_args(option)[0] for option in options if get_origin(option) is list), None)


def _add_one(
    parser: Any, flag: str, parameter: inspect.Parameter, lists: dict[str, type], function: Callable[..., int | None]
) -> None:
    """Add a positional argument or a flag of several values, with its line of the docstring."""
    from docstring_parser import parse

    about = next((p.description for p in parse(function.__doc__ or "").params if p.arg_name == parameter.name), None)
    several = {"nargs": "+"} if parameter.name in lists else {}
    default = {} if parameter.default is parameter.empty else {"default": parameter.default}
    if default and not flag.startswith("--") and not several:
        several = {"nargs": "?"}
    parser.add_argument(flag, type=lists.get(parameter.name, parameter.annotation), help=about, **several, **default)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: spikefield COMMAND ...",
            "",
            "Teach a field-potential model what a spike model knows.",
            "",
            *lines,
            "",
            "`spikefield COMMAND --help` lists a command's flags.",
        ]
    )
