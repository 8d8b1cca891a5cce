"""Makes the attributes of a dataset of results, which say where its numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from derive.model import Model
from derive.version import VERSION


def result_attributes(title: str, model: Model, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Title, options of the model, settings of the run, and the version of this program, in this order."""
    return {"title": title, **model.to_dict(), **settings, "version": f"overlap-ode {VERSION}"}
