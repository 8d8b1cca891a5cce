"""The files that are generated for a model: code, LaTeX, and the manifest that vouches for both."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from derive.errors import InputError
from derive.generated_folder import write_files
from derive.model import DerivableModel
from derive.version import VERSION, written_by

MODULE, DOCUMENT, MANIFEST = "odes.py", "odes.tex", "manifest.json"
FORMAT = 1
# The stages that have a text for people to read.
STAGES = ("equations", "program", "python", "latex")

AnyModel = TypeVar("AnyModel", bound=DerivableModel)


class ProofRecord(Protocol):
    """States what was compared in a proof, and how."""

    @property
    def method(self) -> str: ...

    @property
    def compared(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...


class GeneratedFiles(abc.ABC, Generic[AnyModel]):
    """The files of one model; their text depends on the model and the version alone.

    A subclass is the pipeline of one class of models, whose stages compute the properties below.

    model_class
        `Model` or `SectorModel`.
    """

    model_class: ClassVar[type[DerivableModel]]

    def __init__(self, model: AnyModel) -> None:
        self.model = model

    @classmethod
    def of(cls, model: AnyModel) -> Self:
        """The pipeline of a model; the same object each time, so that no stage is computed twice.

        Raises InputError for what is no model of this class.
        """
        if not isinstance(model, cls.model_class):
            wanted = cls.model_class.__name__
            raise InputError("model", f"is of the type {type(model).__name__}, not a {wanted}")
        return cast(Self, pipeline_of(cls, model))

    @property
    @abc.abstractmethod
    def proof(self) -> ProofRecord:
        """How the equations were proved; raises ProofError if they are wrong."""

    @property
    @abc.abstractmethod
    def proof_record(self) -> ProofRecord:
        """What `proof` is when the equations are right, found out without proving anything."""

    @property
    @abc.abstractmethod
    def python(self) -> str:
        """The Numba module."""

    @property
    @abc.abstractmethod
    def latex(self) -> str:
        """The LaTeX document."""

    @property
    @abc.abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """The entries of the manifest about the code, among them ``operations`` by function."""

    @abc.abstractmethod
    def text_of(self, stage: str) -> str:
        """The text of one of the STAGES, unproved; raises InputError for another."""

    def texts(self, version: str = VERSION) -> dict[str, str]:
        """The files by name, the manifest last, as this `version` writes them on any machine."""
        model, files = self.model, {MODULE: self.python, DOCUMENT: self.latex}
        files = {name: text.replace(written_by(), written_by(version)) for name, text in files.items()}
        content = {
            "format": FORMAT,
            **({} if model.kind == "system" else {"kind": model.kind}),
            "name": model.name,
            "model": model.to_dict(),
            "generator": {"name": "overlap-ode", "version": version},
            "files": {name: sha256(text.encode()) for name, text in files.items()},
            **self.facts,
            "proof": self.proof_record.to_dict(),
            "parameters": list(model.parameters),
            "state": list(model.state),
        }
        return {**files, MANIFEST: json.dumps(content, indent=1, ensure_ascii=True) + "\n"}

    def write(self, folder: str | Path) -> Path:
        """Prove the equations, write the files into `folder`/<model name>, and return that path."""
        if self.proof != self.proof_record:
            raise AssertionError(f"{self.model.name}: the manifest would state another proof")
        target = Path(folder) / self.model.name
        write_files(target, self.texts())
        return target


@lru_cache(maxsize=64)
def pipeline_of(kind: type[GeneratedFiles[Any]], model: DerivableModel) -> GeneratedFiles[Any]:
    return kind(model)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class DerivedODEs(Generic[AnyModel]):
    """The derived ODEs of a model, with the folder that `runtime` loads."""

    proof: ProofRecord

    def __init__(self, generated: GeneratedFiles[AnyModel]) -> None:
        self.model = generated.model
        self._generated = generated

    def __repr__(self) -> str:
        size, proof = len(self.state), self.proof
        return (
            f"<{type(self).__name__} of {self.model.name}: {size} order parameters, proved in"
            f" {proof.compared} entries ({proof.method})>"
        )

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the order parameters in order."""
        return self.model.state

    def files(self) -> dict[str, str]:
        """The generated files by name, the manifest last; the same text on any machine."""
        return self._generated.texts()

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
        return self._generated.write(folder)
