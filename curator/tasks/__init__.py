"""WHAT FLOWS: tasks of every kind, the splits they refer to, and the ids they carry."""

from curator.tasks.batch import DocumentBatch, Quarantined, RawLines, Removed
from curator.tasks.split import InputFile, Selection, Split, document_ids
from curator.tasks.task import (
    EmptyTask,
    FailedTask,
    NoneTask,
    PartitionTask,
    ResultTask,
    SplitTask,
    Task,
    child_ids,
)

__all__ = [
    "DocumentBatch",
    "EmptyTask",
    "FailedTask",
    "InputFile",
    "NoneTask",
    "PartitionTask",
    "Quarantined",
    "RawLines",
    "Removed",
    "ResultTask",
    "Selection",
    "Split",
    "SplitTask",
    "Task",
    "child_ids",
    "document_ids",
]
