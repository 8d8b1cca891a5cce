"""Each stage of a model is computed once, from the stages before it."""

import pytest

from derive import Model, SectorModel, overlap_odes, pipeline
from derive.generated_files import STAGES
from derive.pipeline import Pipeline
from derive.sector.sector_pipeline import SectorPipeline


@pytest.mark.usefixtures("no_stages")
def test_every_stage_is_computed_once_whoever_asks(monkeypatch):
    calls = []

    def counted(name):
        function = getattr(pipeline, name)

        def call(*arguments):
            calls.append(name)
            return function(*arguments)

        return call

    stages = (
        "overlap_equations",
        "overlap_program",
        "prove",
        "differentiate",
        "numba_module",
        "odes_document",
    )
    for name in stages:
        monkeypatch.setattr(pipeline, name, counted(name))
    for _ in range(2):
        odes = overlap_odes(Model(2, 1))
        odes.latex()
        assert odes.files() == Pipeline.of(Model(2, 1)).texts()
        for stage in STAGES:
            Pipeline.of(Model(2, 1)).text_of(stage)
    assert sorted(calls) == sorted(stages)


def test_models_and_kinds_have_pipelines_of_their_own():
    assert Pipeline.of(Model(2, 1)) is Pipeline.of(Model(2, 1))
    assert Pipeline.of(Model(2, 1)) is not Pipeline.of(Model(2, 1, readout="sum"))
    assert SectorPipeline.of(SectorModel(1)).model == SectorModel(1)


def test_files_are_not_written_where_the_manifest_would_lie(tmp_path, monkeypatch):
    stages = Pipeline(Model(2, 1))
    monkeypatch.setattr(pipeline, "proof_record", lambda _: None)
    with pytest.raises(AssertionError, match="p2_pstar1: the manifest would state another proof"):
        stages.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
