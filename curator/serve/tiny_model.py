"""A language model with random weights, made on the spot: ``python -m curator.serve.tiny_model DIRECTORY``.

Some hundred thousand parameters, a tokenizer trained on two sentences, a chat template; made in seconds, from a fixed
seed, without any download. What it says is nonsense. A directory that is there already is left as it is, so several
replicas may make it at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

SENTENCES = ("The quick brown fox jumps over the lazy dog.", "How good is this text? Answer with a score from 0 to 5.")
SPECIAL = ("<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tiny_model(directory: Path, *, seed: int = 0) -> None:
    """Make the model.

    Args:
        directory: where it is to be; made as a whole or not at all.
        seed: of its weights.

    Raises:
        SystemExit: the libraries are not installed.
    """
    if directory.exists():
        return
    try:
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    except ImportError as error:
        raise SystemExit(f"{error}. Install it with: pip install 'curator[replicas]'") from error
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=384, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    )
    pad, begin, end, *_ = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=pad, bos_token=begin, eos_token=end, chat_template=CHAT
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".tiny-", ignore_cleanup_errors=True) as temporary:
        whole = Path(temporary) / "model"
        LlamaForCausalLM(config).save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        try:
            os.rename(whole, directory)
        except OSError:
            if not directory.is_dir():  # another replica was quicker otherwise
                raise


if __name__ == "__main__":
    make_tiny_model(Path(sys.argv[1]))
