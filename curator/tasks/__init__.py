"""WHAT FLOWS: tasks of every kind, the splits they refer to, and the ids they carry."""

from curator.tasks.batch import DocumentBatch, Quarantined, RawLines, Removed
from curator.tasks.split import InputFile, Selection, Split, document_ids
from curator.tasks.table import ExtractTask, RoundTask, TableTask
from curator.tasks.task import (
    EmptyTask,
    Exclusion,
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
    "Exclusion",
    "ExtractTask",
    "FailedTask",
    "InputFile",
    "NoneTask",
    "PartitionTask",
    "Quarantined",
    "RawLines",
    "Removed",
    "ResultTask",
    "RoundTask",
    "Selection",
    "Split",
    "SplitTask",
    "TableTask",
    "Task",
    "child_ids",
    "document_ids",
]
