"""Train a byte-level BPE tokenizer in Hugging Face format, for tiny models that bring none."""

from collections.abc import Iterable

from chat_model.template import LLAMA2_TEMPLATE

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024):
    """Return a `PreTrainedTokenizerFast` with the Llama 2 template and a `<pad>` of its own.

    The template's markup is kept whole, one token a mark, and takes the white space beside it along, so that a tiny
    model spends no tokens on it.

    Args:
        texts: what the merges are learnt from.
        vocab_size: tokens in all; at least 256 bytes, 3 special tokens and 4 marks.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [
        AddedToken("[INST]", normalized=False),
        AddedToken("[/INST]", normalized=False, lstrip=True),
        AddedToken("<<SYS>>", normalized=False, lstrip=True, rstrip=True),
        AddedToken("<</SYS>>", normalized=False, lstrip=True, rstrip=True),
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(marks),
        special_tokens=[PAD, BOS, AddedToken(EOS, normalized=False, lstrip=True)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=AddedToken(EOS, normalized=False, lstrip=True, special=True),
        chat_template=LLAMA2_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
