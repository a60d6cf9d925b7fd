"""Keep a model folder on the Hugging Face hub and fetch it from there, by the three methods that its users know.

What a folder holds is said in `spikefield.artifact`; here it only travels. `huggingface_hub` is loaded when needed.
"""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import spikefield.files as files
from spikefield.errors import InputError

Held = TypeVar("Held", bound="OnHub")


class OnHub(ABC):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` for whatever can write and read a folder."""

    @abstractmethod
    def write_folder(self, folder: Path) -> None:
        """Write all files into an existing folder."""

    @classmethod
    @abstractmethod
    def read_folder(cls: type[Held], folder: Path) -> Held:
        """Read what `write_folder` wrote.

        Raises:
            InputError: it is not that.
        """

    def save_pretrained(
        self, save_directory: str | Path, *, repo_id: str | None = None, push_to_hub: bool = False, **push: Any
    ) -> str | None:
        """Write the model into a new folder, and push it to the hub too where asked.

        Raises:
            InputError: the folder holds something already, or cannot be written.
        """
        folder = Path(save_directory)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"`save_directory` {folder} holds something already. Choose another folder.")
        with files.whole(folder) as temporary:
            temporary.mkdir()
            self.write_folder(temporary)
        return self.push_to_hub(repo_id or folder.name, **push) if push_to_hub else None

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Push model using spikefield.",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload the model to a repository of the hub, which is made if it is not there, and return its address.

        Raises:
            InputError: huggingface_hub is missing, or the hub refuses.
        """
        hub = _hub()
        with tempfile.TemporaryDirectory() as temporary, _hub_errors(hub, repo_id):
            self.write_folder(Path(temporary))
            api = hub.HfApi(token=token)
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if branch is not None:
                api.create_branch(repo_id, branch=branch, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=temporary,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
            )
            return str(done.commit_url)

    @classmethod
    def from_pretrained(
        cls: type[Held],
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Held:
        """Read a model from a folder, or fetch it from a repository of the hub.

        Raises:
            InputError: no such folder or repository, or what it holds is not a whole model.
        """
        if Path(pretrained_model_name_or_path).is_dir():
            return cls.read_folder(Path(pretrained_model_name_or_path))
        hub = _hub()
        with _hub_errors(hub, str(pretrained_model_name_or_path)):
            folder = hub.snapshot_download(
                str(pretrained_model_name_or_path),
                revision=revision,
                force_download=force_download,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        return cls.read_folder(Path(folder))


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "the hub needs the package huggingface_hub, which is not installed. Run `pip install 'spikefield[hub]'`."
        ) from error
    return huggingface_hub


@contextmanager
def _hub_errors(hub: ModuleType, repo_id: str) -> Iterator[None]:
    """Say in one line what the hub refuses: a name that cannot be, a repository that is not there, no network."""
    try:
        yield
    except (hub.errors.HFValidationError, hub.errors.LocalEntryNotFoundError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"{repo_id!r} is neither a folder nor reachable on the hub ({why}). "
            "Check its name, the network and the token."
        ) from error
