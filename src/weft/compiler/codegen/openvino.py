# pyright: standard
"""A checkpoint's steps → OpenVINO IR: an XML and a BIN per entry point in one zip, the weights left in their files."""

import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

from weft.compiler.codegen.steps import Steps, artifact_of
from weft.compiler.codegen.torch_export import HEADER_FILE, encode_header
from weft.compiler.codegen.torch_programs import export_step, weight_names
from weft.runtime.engines.artifact import OPENVINO
from weft.runtime.engines.openvino_program import openvino

SUFFIXES = (".xml", ".bin")


def write_openvino(steps: Steps, made: Path, *, int8: bool) -> None:
    ov = openvino()
    names = weight_names(steps.module, int8=int8)
    artifact = artifact_of(steps, runtime=OPENVINO, weights=names)
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch, zipfile.ZipFile(made, "w") as archive:
        _add(archive, HEADER_FILE, encode_header(artifact))
        for entry in steps.entries:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = ov.convert_model(export_step(steps, entry, names, None))
            _name(model, names)
            path = Path(scratch) / f"{entry.name}.xml"
            ov.save_model(model, path, compress_to_fp16=False)
            for suffix in SUFFIXES:
                _add(archive, entry.name + suffix, path.with_suffix(suffix).read_bytes())


def _name(model: Any, names: tuple[str, ...]) -> None:
    """By the names of the checkpoint: the runtime looks for them."""
    for parameter, name in zip(model.get_parameters(), names, strict=False):
        parameter.set_friendly_name(name)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """With no date: the same model, the same bytes."""
    archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
