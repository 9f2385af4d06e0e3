"""Layouts of data sets: where pictures lie, and how their labels become lines.

One file a layout; the file name is the registry. The module holds a subclass of `Layout` named `Layout`. What lines
mean is the business of `edgecompile.data.label_lines` and the forms beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import CheckedLabels, LabelForm, LabelLines
from edgecompile.data.label_reading import LabelReading
from edgecompile.data.split_listing import Folders, Listing
from edgecompile.errors import Problem, RecipeError

ModelNames = Callable[[], Sequence[str] | None]
"""Returns the names of the classes of the weights, by number; None where these are not known."""
YOLO = "yolo"
"""The layout of whatever no other layout claims."""


@dataclass(frozen=True)
class Reader:
    """How a task reads labels, for layouts to check what they find.

    Attributes:
        task: its name, for messages.
        form: what its lines state.
        check_lines: checks the lines of one picture.
        check_file: checks a YOLO label file; looks into each file once.
        remark_share, error_share: of pictures without a label file, above which that is remarked on, or an error.
    """

    task: str
    form: LabelForm
    check_lines: Callable[[LabelLines], CheckedLabels]
    check_file: Callable[[str], CheckedLabels]
    remark_share: float
    error_share: float


@dataclass(frozen=True)
class FoundLabels:
    """The labels of pictures.

    Attributes:
        files: that hold them: one a picture, in the order of the pictures, or one for all, or none.
        reading: how a step reads them.
        checked: what each picture's labels hold, without pictures that have none.
        missing: pictures without labels.
        renamed: label files found under a name that is the picture's in another Unicode normalisation.
    """

    files: Sequence[str] = ()
    reading: LabelReading = field(default_factory=LabelReading)
    checked: Sequence[CheckedLabels] = ()
    missing: int = 0
    renamed: int = 0
    notes: Sequence[str] = ()
    problems: Sequence[Problem] = ()


class Layout(ABC):
    """One layout of data sets.

    Attributes:
        name: of its file.
    """

    name: ClassVar[str]

    @abstractmethod
    def claims(self, path: Path) -> bool:
        """Returns whether a path of a recipe names a data set of this layout."""

    @abstractmethod
    def read_data(self, path: Path, model_names: ModelNames) -> DataFile:
        """Reads what a data set says of itself.

        Raises:
            RecipeError: it is malformed.
        """

    @abstractmethod
    def holds(self, data: DataFile, split: str) -> bool:
        """Returns whether a split of a data set is in this layout."""

    @abstractmethod
    def list_split(self, data: DataFile, split: str, where: str, folders: Folders) -> Listing:
        """Lists the pictures of a split.

        Args:
            where: the key of the recipe that names the split, for messages.

        Raises:
            RecipeError: the split is missing, empty, or names what is not there.
        """

    @abstractmethod
    def split_line(self, data: DataFile, split: str) -> str:
        """Returns where a split is named, for messages."""

    @abstractmethod
    def find_labels(
        self,
        data: DataFile,
        split: str,
        listing: Listing,
        pictures: Sequence[str],
        reader: Reader,
        folders: Folders,
    ) -> FoundLabels:
        """Finds and checks the labels of some pictures of a split."""

    @abstractmethod
    def read_lines(self, files: Sequence[Path], reading: LabelReading, form: LabelForm) -> list[LabelLines]:
        """Returns the lines of each picture, as a step reads them.

        Args:
            files, reading: what `find_labels` returned.

        Raises:
            RecipeError: a file is malformed, or not the one that the keys were found in.
        """


@cache
def find_layout(name: str) -> Layout:
    """Returns a layout by its name.

    Raises:
        RecipeError: there is none.
    """
    if name not in layout_names():
        raise RecipeError(f"there is no layout '{name}'", fix=f"layouts: {', '.join(layout_names())}")
    layout: Layout = import_module(f"{__name__}.{name}").Layout()
    return layout


@cache
def layout_names() -> tuple[str, ...]:
    """Returns the names of all layouts, sorted."""
    return tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")))


def _others() -> list[Layout]:
    return [find_layout(name) for name in layout_names() if name != YOLO]


def layout_of(path: Path) -> Layout:
    """Returns the layout of the data set that a path names."""
    return next((layout for layout in _others() if layout.claims(path)), find_layout(YOLO))


def layout_of_split(data: DataFile, split: str) -> Layout:
    """Returns the layout of one split: those of a data.yaml may differ."""
    return next((layout for layout in _others() if layout.holds(data, split)), find_layout(YOLO))
