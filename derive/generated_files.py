"""The files that are generated for a model: code, LaTeX, and the manifest that vouches for both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from derive.generated_folder import write_files
from derive.model import DerivableModel
from derive.version import VERSION, written_by

MODULE, DOCUMENT, MANIFEST = "odes.py", "odes.tex", "manifest.json"
FORMAT = 1

AnyModel = TypeVar("AnyModel", bound=DerivableModel)


class ProofRecord(Protocol):
    """States what was compared in a proof, and how."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class GeneratedFiles(Generic[AnyModel]):
    """Writes the files of one class of models; their text depends on the model and the version alone.

    model_class
        `Model` or `SectorModel`; each other field is a function of such a model.
    module, document
        The texts of the Numba module and of the LaTeX document.
    facts
        The entries of the manifest about the code, among them ``operations`` by function.
    proof
        The record of what is compared when the model is derived.
    """

    model_class: type[AnyModel]
    module: Callable[[AnyModel], str]
    document: Callable[[AnyModel], str]
    facts: Callable[[AnyModel], dict[str, Any]]
    proof: Callable[[AnyModel], ProofRecord]

    def texts(self, model: AnyModel, version: str = VERSION) -> dict[str, str]:
        """The files by name, the manifest last, as this `version` writes them on any machine."""
        files = {MODULE: self.module(model), DOCUMENT: self.document(model)}
        files = {name: text.replace(written_by(), written_by(version)) for name, text in files.items()}
        content = {
            "format": FORMAT,
            **({} if model.kind == "system" else {"kind": model.kind}),
            "name": model.name,
            "model": model.to_dict(),
            "generator": {"name": "overlap-ode", "version": version},
            "files": {name: sha256(text.encode()) for name, text in files.items()},
            **self.facts(model),
            "proof": self.proof(model).to_dict(),
            "parameters": list(model.parameters),
            "state": list(model.state),
        }
        return {**files, MANIFEST: json.dumps(content, indent=1, ensure_ascii=True) + "\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class DerivedODEs(Generic[AnyModel]):
    """The derived ODEs of a model, with the folder that `runtime` loads."""

    def __init__(self, model: AnyModel, generated: GeneratedFiles[AnyModel]) -> None:
        self.model = model
        self._generated = generated

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the order parameters in order."""
        return self.model.state

    def files(self) -> dict[str, str]:
        """The generated files by name, the manifest last; the same text on any machine."""
        return self._generated.texts(self.model)

    def write(self, folder: str | Path = "generated") -> Path:
        """Write the generated files to `folder`/<model name>, and return that path.

        Files appear whole or not at all; existing ones are replaced.

        Raises
        ------
        InputError
            The folder cannot be written, or is a symbolic link.
        OSError
            Writing failed.
        """
        target = Path(folder) / self.model.name
        write_files(target, self.files())
        return target
