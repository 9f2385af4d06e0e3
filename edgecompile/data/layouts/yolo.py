"""YOLO's layout: a data.yaml whose splits are pictures, and beside each picture, or in `labels`, a file of lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from edgecompile.data import layouts, yolo_dataset
from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import LabelForm, LabelLines
from edgecompile.data.label_reading import LabelReading
from edgecompile.data.label_search import LabelFiles, find_label_files
from edgecompile.data.layouts import FoundLabels, ModelNames, Reader
from edgecompile.data.split_listing import Folders, Listing
from edgecompile.data.yolo_labels import read_lines
from edgecompile.errors import Problem


class Layout(layouts.Layout):
    """YOLO's data.yaml and label files."""

    name: ClassVar[str] = "yolo"

    def claims(self, path: Path) -> bool:
        return path.suffix in (".yaml", ".yml")

    def read_data(self, path: Path, model_names: ModelNames) -> DataFile:
        return yolo_dataset.read_data(path)

    def holds(self, data: DataFile, split: str) -> bool:
        return True

    def list_split(self, data: DataFile, split: str, where: str, folders: Folders) -> Listing:
        return yolo_dataset.list_split(data, split, where, folders)

    def split_line(self, data: DataFile, split: str) -> str:
        return yolo_dataset.split_line(data, split)

    def find_labels(
        self,
        data: DataFile,
        split: str,
        listing: Listing,
        pictures: Sequence[str],
        reader: Reader,
        folders: Folders,
    ) -> FoundLabels:
        where = self.split_line(data, split)
        if reader.form is LabelForm.CLASS_NAME:
            fix = "name a folder with train/ and val/, a folder for each class in each of them"
            return FoundLabels(problems=[Problem(f"'{reader.task}' needs pictures in folders of classes", where, fix)])
        found = find_label_files(pictures, listing.resolved, folders, str(data.root))
        return FoundLabels(
            files=[file.path for file in found.files],
            reading=LabelReading(kpt_shape=data.facts.kpt_shape, kpt_oks_sigmas=data.facts.kpt_oks_sigmas),
            checked=[reader.check_file(file.path) for file in found.files if file.exists],
            missing=len(found.missing),
            renamed=found.renamed,
            notes=_remarks(found, reader.remark_share),
            problems=_missing(found, data, where, reader.error_share),
        )

    def read_lines(self, files: Sequence[Path], reading: LabelReading, form: LabelForm) -> list[LabelLines]:
        return [read_lines(file) for file in files]


def _missing(labels: LabelFiles, data: DataFile, where: str, share: float) -> list[Problem]:
    """Returns the problem of pictures without a label file: of all of them, or of more than a share."""
    if len(labels.missing) == len(labels.pictures):
        fix = "labels lie beside them, in a folder named labels where theirs is named images"
        return [Problem(labels.none_line(data.names), where, fix)]
    if len(labels.missing) > share * len(labels.pictures):
        fix = "write an empty file for each picture without objects, or raise data.error_share knowingly"
        return [Problem(labels.missing_line(), where, fix)]
    return []


def _remarks(labels: LabelFiles, share: float) -> list[str]:
    """Returns what a person should know of the labels that were found and of those that were not."""
    notes = []
    misplaced = labels.elsewhere()
    if len(labels.missing) > share * len(labels.pictures) or misplaced:
        notes.append(f"{labels.missing_line()}; they count as pictures without objects")
    notes += labels.bare_folders()
    if labels.renamed:
        files = "1 label file is" if labels.renamed == 1 else f"{labels.renamed} label files are"
        notes.append(f"{files} named as the picture in another Unicode normalisation; Ultralytics does not find them")
    return notes
