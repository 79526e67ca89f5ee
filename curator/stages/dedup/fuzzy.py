"""Fuzzy deduplication: documents of nearly the same text meet in LSH buckets, and lose to a similar one that is kept.

Text becomes shingles, shingles a signature, a signature band keys; equal keys meet behind the barrier, are compared
there by the exact Jaccard similarity of their shingles, and are decided in keeper order: a document is removed exactly
when a kept one is similar to it. Nothing is removed without a similar document that stays, and of no similar pair that
was found both stay. A document without shingles, which has no text, is similar to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import ConfigError
from curator.stages.barrier.deciders import Decider, InOrder
from curator.stages.barrier.rounds import BarrierRound
from curator.stages.base import (
    FilesToKeep,
    NodeInfo,
    ProcessingStage,
    Resolved,
    ShuffleStage,
    SourceStage,
    WorkerMetadata,
)
from curator.stages.dedup.band_words import pack_words, scope_words, unpack_words
from curator.stages.dedup.candidates import BucketsRound, ComponentsRound
from curator.stages.dedup.cover_in_order import CoverDecider
from curator.stages.dedup.earlier import EarlierCorpus, listed
from curator.stages.dedup.fuzzy_options import check_options
from curator.stages.dedup.gathering import GatherRound
from curator.stages.dedup.in_order import BucketDecider, fuzzy_in_order
from curator.stages.dedup.keeper import policy_column
from curator.stages.dedup.lsh_parameters import MAX_HASHES, LshParameters, choose_bands
from curator.stages.dedup.normalise import Normalisation
from curator.stages.dedup.signature_files import (
    CHARACTERS,
    SIGNATURE,
    SignatureFiles,
    signature_column,
    signature_values,
)
from curator.stages.dedup.signature_reuse import KeepSignatures, made_with, notes_on_signatures, resolve_signatures
from curator.stages.dedup.verification import VerifyRound
from curator.stages.io.text_buffers import TextBuffers, single
from curator.tasks import DocumentBatch, Split, document_ids

_DOCUMENTS = 1 << 15
_UNDECIDED = (
    "partition_bytes",
    "bands_per_iteration",
    "documents_per_task",
    "compare_bytes",
    "recall",
    "max_hashes",
    "keep_signatures",
    "keep_columns",
    "signatures",
)


class FuzzyDeduplication(ShuffleStage):
    """Keeps one document of each that are similar.

    Args:
        threshold: Jaccard similarity of the shingles from which on two documents are duplicates, above 0, at most 1.
        recall: the share of duplicates to find, above 0, below 1; chooses ``bands`` and ``rows`` with ``threshold``.
        bands: bands of a signature, or ``None`` to have them chosen; what is given wins.
        rows: values in a band, likewise.
        max_hashes: positions of a signature that may be chosen.
        shingle: ``word``, ``char``, or ``auto``: characters for texts in scripts without spaces, words for all others.
        shingle_size: words or characters in a shingle, 1 to 256; a shorter text is one shingle.
        spaceless_size: characters in a shingle where ``auto`` takes characters.
        scheme: ``fast`` (Fast Similarity Sketching) or ``classic`` (one permutation a position, as other tools do).
        verify: ``exact``: by the shingles of the texts, which are read again; ``signature``: by the share of positions
            in which signatures agree, which are made again; ``none``: sharing a bucket is enough.
        cluster: ``keeper``: a document goes if a kept one is similar to it; ``components``: one document stays of all
            that are connected by similar pairs, however long the chain.
        keep: which one stays: ``first`` in input order; ``longest`` in characters, as it came; ``max:<column>``: the
            largest number in that column; ``priority:<column>``: the smallest, so that 1 goes before 2. No number
            loses, ties go to the first.
        scope: only documents with equal values in this column are compared; no value is a value too. ``None``: all.
        bands_per_iteration: bands whose buckets are held at a time; ``None`` for all. Results do not depend on it.
        max_comparisons: kept documents that one is compared with at most, those that share most buckets first.
        case: ``lower``, ``keep`` or ``fold`` (Unicode case folding).
        white_space: ``collapse`` or ``keep``; makes no difference for words.
        punctuation: ``keep``, or ``space``: punctuation counts as white space.
        unicode: ``keep``, or a normal form: ``NFC``, ``NFD``, ``NFKC``, ``NFKD``.
        partition_bytes: bytes of keys that one worker holds at a time behind the barrier.
        documents_per_task: documents that one worker compares at a time, unless more are connected by buckets; ``None``
            stands for 32,768.
        compare_bytes: bytes of text, or of signatures, that one worker holds while it compares; more lie in a file.
        num_hashes: positions of a signature; ``None`` for as many as ``bands * rows``, or as ``signatures`` have. With
            ``fast``, another number is another signature, and other pairs share a bucket.
        keep_signatures: a folder for the signatures of all documents, which appears with the output; ``None``: none.
        keep_columns: columns to keep there besides those of ``keep`` and ``scope``, for later runs to decide by.
        signatures: a folder that a run over the same input kept; its documents are not hashed again.
        against: earlier corpora, one or several: folders of signatures, outputs of curator, other inputs. A document
            that is similar to one of theirs goes, and they come first in keeper order.

    Raises:
        ConfigError: an option is not one of those; every mistake is in the message.

    Example:
        >>> stage = FuzzyDeduplication(threshold=0.8, keep="max:score")
        >>> stage.bands, stage.rows, stage.inputs()
        (15, 8, ('text', 'id', 'score'))
        >>> stage.notes()[0]
        '15 bands of 8 rows find pairs of similarity 0.6: 22.4 %, 0.7: 59.0 %, 0.8: 93.6 %, 0.9: 100.0 %'
    """

    name = "fuzzy"
    keys_are_independent = True

    def __init__(
        self,
        *,
        threshold: float = 0.8,
        recall: float = 0.99,
        bands: int | None = None,
        rows: int | None = None,
        max_hashes: int = MAX_HASHES,
        shingle: str = "word",
        shingle_size: int = 5,
        spaceless_size: int = 5,
        scheme: str = "fast",
        verify: str = "exact",
        cluster: str = "keeper",
        keep: str = "first",
        scope: str | None = None,
        bands_per_iteration: int | None = None,
        max_comparisons: int = 256,
        case: str = "lower",
        white_space: str = "collapse",
        punctuation: str = "keep",
        unicode: str = "keep",
        partition_bytes: int = 256 << 20,
        documents_per_task: int | None = None,
        compare_bytes: int = 256 << 20,
        num_hashes: int | None = None,
        keep_signatures: str | None = None,
        keep_columns: Sequence[str] | None = None,
        signatures: str | None = None,
        against: str | Sequence[str] | None = None,
    ) -> None:
        self.threshold = threshold
        self.recall = recall
        self.max_hashes = max_hashes
        self.shingle = shingle
        self.shingle_size = shingle_size
        self.spaceless_size = spaceless_size
        self.scheme = scheme
        self.verify = verify
        self.cluster = cluster
        self.keep = keep
        self.scope = scope
        self.bands_per_iteration = bands_per_iteration
        self.max_comparisons = max_comparisons
        self.case = case
        self.white_space = white_space
        self.punctuation = punctuation
        self.unicode = unicode
        self.partition_bytes = partition_bytes
        self.documents_per_task = documents_per_task
        self.compare_bytes = compare_bytes
        self.num_hashes = num_hashes
        self.keep_signatures = None if keep_signatures is None else str(keep_signatures)
        self.keep_columns = listed(keep_columns, "fuzzy.keep_columns")
        self.signatures = None if signatures is None else str(signatures)
        self.against = listed(against, "fuzzy.against")
        self._kept: SignatureFiles | None = None
        self._earlier: tuple[EarlierCorpus, ...] = ()
        self._before: list[dict[str, Any]] = []
        self._not_kept: tuple[str, ...] = ()
        self._given = (bands, rows)
        problems = check_options(vars(self))
        chosen = LshParameters(1, 1)
        try:
            chosen = self._choose_bands()
        except ConfigError as error:
            problems += error.problems
        problems += check_options({"product": chosen.num_hashes})
        if problems:
            raise ConfigError(problems)
        self.bands, self.rows = chosen.bands, chosen.rows

    def _choose_bands(self) -> LshParameters:
        bands, rows = self._given
        most = self.max_hashes
        if isinstance(self.num_hashes, int) and isinstance(most, int):
            most = min(most, self.num_hashes)
        return choose_bands(self.threshold, self.recall, max_hashes=most, bands=bands, rows=rows)

    def with_signatures_of(self, num_hashes: int) -> Self:
        """The same stage for signatures of another length; bands and rows that were not given are chosen again."""
        changed = self.with_(num_hashes=num_hashes)
        chosen = changed._choose_bands()
        return changed.with_(bands=chosen.bands, rows=chosen.rows)

    @property
    def signature_length(self) -> int:
        """Positions of a signature."""
        return self.num_hashes if self.num_hashes is not None else self.bands * self.rows

    @property
    def earlier(self) -> tuple[EarlierCorpus, ...]:
        """The corpora that documents are compared with; none before ``resolve``."""
        return self._earlier

    @property
    def kept(self) -> SignatureFiles | None:
        """The signatures of the input; none before ``resolve``."""
        return self._kept

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Columns for which the input is read although there are signatures; none before ``resolve``."""
        return self._not_kept

    @property
    def earlier_splits(self) -> Sequence[Split]:
        """The splits of those."""
        return [split for corpus in self._earlier for split in corpus.splits]

    @property
    def files_to_keep(self) -> FilesToKeep | None:
        """The folder of signatures, if they are kept."""
        if self.keep_signatures is None:
            return None
        return KeepSignatures(self, self.keep_signatures, self._columns_to_keep(), self._before)

    def _columns_to_keep(self) -> list[str]:
        columns = [*self.keep_columns, self.scope, policy_column(self.keep)]
        return [name for name in dict.fromkeys(columns) if name is not None and name not in ("text", "id")]

    def resolve(self, source: SourceStage, before: Sequence[ProcessingStage], splits: Sequence[Split]) -> Resolved:
        """Open the signatures and corpora that the options name.

        Raises:
            ConfigError: they do not fit.
        """
        return resolve_signatures(self, source, before, splits)

    @property
    def num_bands(self) -> int:  # type: ignore[override]
        """Bands that the barrier tells apart: all if it takes some at a time; otherwise their keys differ anyway."""
        return self.bands if self.bands_per_iteration is not None and self.bands_per_iteration < self.bands else 1

    @property
    def shingling(self) -> Any:  # noqa: ANN401
        """What the shingles of a text are, as kernels take it; case folding is done before."""
        from curator.kernels.shingles import Shingling

        return Shingling(
            unit=self.shingle,
            size=self.shingle_size,
            spaceless_size=self.spaceless_size,
            case="lower" if self.case == "lower" else "keep",
            white_space=self.white_space,
            punctuation=self.punctuation,
        )

    def inputs(self) -> tuple[str, ...]:
        """The text, the id for the ledger, and the columns that group documents and decide who is kept."""
        text = [SIGNATURE, *([CHARACTERS] if self.keep_signatures else [])] if self._kept is not None else ["text"]
        decisive = [] if self._kept is not None else [policy_column(self.keep)]
        kept = self._columns_to_keep() if self.keep_signatures else []
        columns = [*text, "id", self.scope, *decisive, *kept]
        return tuple(dict.fromkeys(column for column in columns if column is not None))

    def earlier_inputs(self) -> tuple[str, ...]:
        """Signatures, or the text that they are made from."""
        return (SIGNATURE, "id", *([self.scope] if self.scope is not None else []))

    def columns_to_verify(self) -> tuple[str, ...]:
        """The columns by which candidates are compared and decided."""
        is_kept = self._kept is not None or any(corpus.kept is not None for corpus in self._earlier)
        compared = {"exact": "text", "signature": SIGNATURE if is_kept else "text"}.get(self.verify)
        longest = (CHARACTERS if is_kept and self.verify != "exact" else "text") if self.keep == "longest" else None
        columns = ["id", compared, longest, policy_column(self.keep)]
        return tuple(dict.fromkeys(column for column in columns if column is not None))

    def settings(self) -> dict[str, Any]:
        """What decides the result; how the work is cut does not, nor how bands and rows were chosen."""
        decisive = {key: value for key, value in super().settings().items() if key not in _UNDECIDED}
        versions = [value for key, value in made_with(self).items() if key.endswith("_version")]
        identities = [corpus.identity for corpus in self._earlier] or self.against
        return decisive | {"num_hashes": self.signature_length, "versions": versions, "against": identities}

    def key_settings(self) -> dict[str, Any]:
        """What decides signatures and bands; who is similar enough, and who is kept, is decided behind the barrier."""
        kept = None if self._kept is None else self.signatures
        return {**made_with(self), "bands": self.bands, "rows": self.rows, "scope": self.scope, "signatures": kept}

    def notes(self) -> list[str]:
        """The S-curve, and what it is good for."""
        curve = LshParameters(self.bands, self.rows)
        shown = ", ".join(f"{similarity}: {100 * share:.1f} %" for similarity, share in curve.probabilities().items())
        confirmed = {
            "exact": f"those of at least {self.threshold} are confirmed by their shingles",
            "signature": f"those of at least {self.threshold} are confirmed by an estimate",
            "none": "no pair is confirmed: threshold only chooses bands and rows",
        }
        return [
            *notes_on_signatures(self),
            f"{self.bands} bands of {self.rows} rows find pairs of similarity {shown}",
            f"from similarity 0.4 to 1.0: {curve.drawn()}",
            confirmed[self.verify],
        ]

    def in_order(self, splits: Sequence[Split]) -> InOrder | None:
        """What it takes to decide about documents as they pass."""
        return fuzzy_in_order(self, splits)

    def decider(self) -> Decider:
        """Keeps the first of those that share a bucket, as they pass."""
        return BucketDecider(self) if self.verify == "none" else CoverDecider(self)

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Compile the kernels once."""
        self._warm()

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Load the kernels before the first unit is timed."""
        self._warm()

    def _warm(self) -> None:
        from curator.kernels.warm import (
            warm_comparing,
            warm_hashing,
            warm_normalising,
            warm_partitioning,
            warm_sketching,
        )

        warm_sketching()
        warm_comparing()
        warm_partitioning()
        if self.scope is not None:
            warm_hashing()
        if self._normalisation != Normalisation():
            warm_normalising()

    @property
    def _normalisation(self) -> Normalisation:
        return Normalisation("fold" if self.case == "fold" else "keep", "keep", self.unicode)

    def normalised(self, texts: pa.Array) -> TextBuffers:
        """Offsets and bytes of texts, less what shingling itself takes care of."""
        return self._normalisation.apply(texts)

    def process(self, task: DocumentBatch) -> DocumentBatch:
        """Add the band keys of each document, and whether it has any shingles; and what is kept of it."""
        from curator.kernels.sketch import band_keys, sketch_texts

        columns = task.columns
        if SIGNATURE in columns.column_names:
            kept = single(columns[SIGNATURE])
            signatures = signature_values(kept, self.signature_length)
            compared = kept.is_valid().to_numpy(zero_copy_only=False)
        else:
            offsets, data = self.normalised(single(columns["text"]))
            signatures, counts = sketch_texts(
                data, offsets, self.signature_length, shingling=self.shingling, scheme=self.scheme
            )
            compared = counts > 0
        scopes = None if self.scope is None else scope_words(single(columns[self.scope]))
        packed = pack_words(np.ascontiguousarray(band_keys(signatures, self.bands, self.rows, scopes).T))
        if self.keep_signatures is not None and SIGNATURE not in columns.column_names:
            columns = columns.append_column(SIGNATURE, signature_column(signatures, compared))
            characters = pc.fill_null(pc.utf8_length(single(columns["text"])), 0).cast(pa.int64())
            columns = columns.append_column(CHARACTERS, characters)
        columns = columns.append_column(f"{self.name}.keys", packed)
        task.columns = columns.append_column(f"{self.name}.compared", pa.array(compared))
        return task

    def keys(self, batch: DocumentBatch) -> pa.Table | Sequence[pa.Table]:
        """A row for each band of each document that has shingles: its key and the document."""
        high = unpack_words(single(batch.columns[f"{self.name}.keys"]))
        compared = single(batch.columns[f"{self.name}.compared"]).to_numpy(zero_copy_only=False)
        documents = document_ids(batch.split.ordinal, batch.rows)
        if not compared.all():
            high, documents = high[compared], documents[compared]
        table = pa.table({"high": high.reshape(-1), "document": np.repeat(documents, self.bands)})
        if self.num_bands == 1:
            return table
        return table.append_column("band", pa.array(np.tile(np.arange(self.bands, dtype=np.uint16), len(high))))

    def rounds(self) -> Sequence[BarrierRound]:
        """Shared buckets, their connected components, what is compared, and the comparison."""
        components = ComponentsRound(self.name, self.documents_per_task or _DOCUMENTS)
        return (BucketsRound(), components, GatherRound(self), VerifyRound(self))
