"""Small tokenizers of the three kinds in the family, and the ids they must give.

    python tests/oracle/vocabularies.py [--out DIR]

Writes `tests/fixtures/tokenizers/{gpt-4o,gpt-2,sentencepiece}/`. See
`tests/fixtures/README.md`. (The file is not called `tokenizers.py` because that
name would hide the package it imports.)
"""

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from common import FIXTURES, write_json

GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: Training text: everyday sentences, so that the merges are those of real languages.
TEXT = """
The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all. She said that they'll come
tomorrow; we've seen it, I'm sure, he'd rather not. There are 12 months, 365 days and 1024 reasons to count.
What is the capital of France? The capital of France is Paris. What is the opposite of hot? It is cold.
Once upon a time there was a small house near the river, where a miller lived with three children.
Der schnelle braune Fuchs springt über den faulen Hund. Größe, Straße und Übermut schreibt man so.
Le renard brun saute par-dessus le chien paresseux; c'est l'été, où êtes-vous allés hier soir ?
El veloz murciélago hindú comía feliz cardillo y kiwi. ¿Qué tal estás? ¡Muy bien, señor!
Съешь же ещё этих мягких французских булок, да выпей чаю. Как тебя зовут? Меня зовут Анна.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Πού είναι το σπίτι; Το σπίτι είναι κοντά στη θάλασσα.
नमस्ते दुनिया, आप कैसे हैं? मैं ठीक हूँ, धन्यवाद। यह एक छोटा सा घर है।
สวัสดีชาวโลก วันนี้อากาศดีมาก คุณสบายดีไหม ฉันสบายดี ขอบคุณมาก
今天天气很好，我们去公园散步吧。你叫什么名字？我的名字叫小明。
これは小さな家です。今日はとてもいい天気ですね。お名前は何ですか。
안녕하세요, 오늘 날씨가 정말 좋네요. 이름이 뭐예요? 제 이름은 민수입니다.
مرحبا بالعالم، كيف حالك اليوم؟ أنا بخير والحمد لله. هذا بيت صغير قرب النهر.
שלום עולם, מה שלומך היום? אני בסדר גמור, תודה רבה.
Trăm năm trong cõi người ta, chữ tài chữ mệnh khéo là ghét nhau.
fn main() { let total: usize = (0..10).map(|x| x * x).sum(); println!("{total}"); }
def add(a, b):\n    return a + b\n\nclass Point:\n    def __init__(self, x=0, y=0):\n        self.x = x
for (int i = 0; i < 10; i++) { printf("%d\\n", i); } // https://example.org/path/to/page?q=1&r=2
{"name": "Anna", "age": 27, "tags": ["a", "b"], "ok": true, "pi": 3.14159}
"""

#: What to tokenize. The first part needs no added tokens.
STRINGS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", " \n", "\r\n", "\n \n\t x", "a", " a", "a ", "Hello", "Hello world",
    "  two spaces before and after  ", "tabs\tand\t\tmore", "line one\nline two\r\nline three\n\n\n   indented",
    "The capital of France is Paris.", "I'm sure they'll say it's what we've DON'T'D, he'd SAID'S 'Tis I'LL",
    "1 12 123 1234 12345 123456 1234567 3.14159 1,000,000", "camelCaseWords andPascalCase HTTPServer ALLCAPS iPhone",
    "https://example.org/path//to/page/\n?q=1&r=2", "x=1;y=-2;/* ok */ // done\n\n", "----====####  ....!!!???",
    "Größe, Straße, Übermut; c'est l'été où", "Съешь ещё этих мягких булок", "Πού είναι το σπίτι;",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "今天天气很好，我们去公园。", "これは小さな家です。", "안녕하세요 세계",
    "مرحبا بالعالم", "שלום עולם", "Tra\u0306m na\u0306m co\u0303i ngu\u031bo\u031b\u0300i",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 \u200b\ufeff", "\u00a0nbsp\u00a0\u3000wide\u2003em", "ǅ ǈ ʰ ª º ² ½ Ⅳ ٣ ৪ 𝟘 𐍈",
    "nul\x00byte \x7f \x1b[0m \ue000 \U000f0000 \U0010ffff", "▁already▁there ▁", "<0x41> <unk> <s> <", "'ſ 'ﬆ K 'S",
    "fn main() {\n    println!(\"{}\", 1 << 3);\n}\n",
]  # fmt: skip

#: Strings with added tokens; the second member of a pair says where white space must vanish.
CHAT_STRINGS = [
    "<|user|>Hello<|end|><|assistant|>", "<|user|>\nHello<|end|>\n<|assistant|>\n", "<|user|> \t\n Hello <|end|>  world",
    "<|endoftext|> \nHello", "Hello<|end|> world", "<|system|>You are kind.<|end|><|user|>Hi<|end|><|assistant|>",
    "<|user|><|user|>\n\n<|user|>", "<|user |> <| user|> <|USER|>", "a<|end|>\u00a0b<|end|>\u3000c", "<|end|>",
]  # fmt: skip

MESSAGES = [
    [{"role": "user", "content": "What is 2 + 2?"}],
    [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi there"},
        {"role": "user", "content": "  Who are you?\n"},
    ],
]

PHI_4_MINI_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + "
    "message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + "
    "message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_3_5_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
    "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def special(content, rstrip=False, is_special=True):
    return AddedToken(content, rstrip=rstrip, normalized=False, special=is_special)


def cases(tokenizer, strings):
    """Ids and the text they decode to, specials included."""
    out = []
    for text in strings:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        out.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    return out


def chat_cases(tokenizer, template, eos):
    """Messages, the rendered prompt and its ids."""
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, eos_token=eos)
    out = []
    for messages in MESSAGES:
        text = wrapped.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        out.append({"messages": messages, "rendered": text, "ids": ids})
    return out


def added_decoder(tokenizer):
    """The `added_tokens_decoder` object of a `tokenizer_config.json`."""
    return {
        str(i): {
            "content": t.content, "lstrip": t.lstrip, "normalized": t.normalized,
            "rstrip": t.rstrip, "single_word": t.single_word, "special": t.special,
        }
        for i, t in sorted(tokenizer.get_added_tokens_decoder().items())
    }  # fmt: skip


def write_config(folder, **fields):
    (folder / "tokenizer_config.json").write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", "utf-8")


def byte_level_bpe(split, size):
    """A byte-level BPE trained on `TEXT`; `split` None means ByteLevel's own expression."""
    tokenizer = Tokenizer(models.BPE())
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, min_frequency=2, show_progress=False, limit_alphabet=256
    )
    # Twice, so that rarer words still reach the minimum frequency.
    tokenizer.train_from_iterator([TEXT, TEXT], trainer)
    return tokenizer


def gpt_4o(root):
    """Phi-4-mini's kind: o200k split, chat tokens that swallow the white space after them."""
    folder = root / "gpt-4o"
    folder.mkdir(parents=True)
    tokenizer = byte_level_bpe(GPT_4O, 600)
    agree_with_tiktoken(tokenizer)
    tokenizer.add_special_tokens([special("<|endoftext|>"), special("<|endofprompt|>")])
    tokenizer.add_special_tokens([special(f"<|{n}|>", rstrip=True) for n in ("assistant", "end", "user", "system")])
    tokenizer.add_tokens(
        [special(t, rstrip=True, is_special=False) for t in ("<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>")]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    # The same with merges as "a b" strings, as files from before 2024-09 have them.
    data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.string-merges.json").write_text(text, "utf-8")
    again = Tokenizer.from_str(text)

    write_config(
        folder,
        add_bos_token=False, add_eos_token=False, added_tokens_decoder=added_decoder(tokenizer),
        bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>",
        chat_template=PHI_4_MINI_TEMPLATE, model_max_length=131072, tokenizer_class="GPT2Tokenizer",
    )  # fmt: skip
    strings = STRINGS + CHAT_STRINGS + ["<|tool|>[]<|/tool|> x <|tool_call|>\n[]<|/tool_call|>", "<|endofprompt|> x"]
    found = cases(tokenizer, strings)
    assert found == cases(again, strings)
    write_json(
        folder / "cases.json",
        {"cases": found, "chats": chat_cases(tokenizer, PHI_4_MINI_TEMPLATE, "<|endoftext|>")},
    )


def agree_with_tiktoken(tokenizer):
    """An independent implementation of split and merges gives the same ids."""
    to_byte = {c: b for b, c in byte_alphabet().items()}
    ranks = {bytes(to_byte[c] for c in t): i for t, i in tokenizer.get_vocab().items()}
    other = tiktoken.Encoding("check", pat_str=GPT_4O, mergeable_ranks=ranks, special_tokens={})
    for text in STRINGS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if other.encode(text, disallowed_special=()) != ids:
            print("tiktoken differs:", ascii(text), ids, other.encode(text))


def byte_alphabet():
    """Byte → the printable character that stands for it in byte-level vocabularies."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


def gpt_2(root):
    """Phi-2's kind: `vocab.json`, `merges.txt`, and white-space runs as ordinary added tokens."""
    folder = root / "gpt-2"
    folder.mkdir(parents=True)
    tokenizer = byte_level_bpe(None, 520)
    tokenizer.model.save(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    vocab["<|endoftext|>"] = len(vocab)
    ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
    (folder / "vocab.json").write_text(json.dumps(ordered, separators=(",", ":")), "utf-8")

    model = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    loaded = Tokenizer(model)
    loaded.pre_tokenizer, loaded.decoder = tokenizer.pre_tokenizer, tokenizer.decoder
    loaded.add_special_tokens([special("<|endoftext|>")])
    runs = [" " * n for n in range(8, 1, -1)] + ["\t" * n for n in range(4, 1, -1)]
    loaded.add_tokens([AddedToken(r, normalized=True, special=False) for r in runs])
    write_json(folder / "added_tokens.json", {r: loaded.token_to_id(r) for r in runs})
    write_config(
        folder,
        add_prefix_space=False, added_tokens_decoder=added_decoder(loaded), bos_token="<|endoftext|>",
        eos_token="<|endoftext|>", unk_token="<|endoftext|>", model_max_length=2048, tokenizer_class="CodeGenTokenizer",
    )  # fmt: skip
    more = ["<|endoftext|> \nHello<|endoftext|>", " " * 9 + "x", " " * 20, "\t" * 7 + "y", "a" + " " * 8 + "\t\t b"]
    write_json(folder / "cases.json", {"cases": cases(loaded, STRINGS + more)})


def sentence_piece(root):
    """Phi-3's kind: a SentencePiece BPE with byte fallback and its `tokenizers` conversion."""
    folder = root / "sentencepiece"
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text"
        # Only the alphabetic lines: other scripts shall fall back to bytes.
        lines = [line for line in TEXT.splitlines() if line and max(line) < "\u0500"]
        text.write_text("\n".join(lines * 2), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(Path(scratch) / "tokenizer"), model_type="bpe", vocab_size=640,
            character_coverage=0.98, byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
            unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
        )  # fmt: skip
        data = (Path(scratch) / "tokenizer.model").read_bytes()
        # The trainer writes down where it read; that is no part of the model.
        data = without_trainer_paths(data)
    (folder / "tokenizer.model").write_bytes(data)
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = converted(model)
    agree_with_sentencepiece(tokenizer, model)

    tokenizer.add_special_tokens([special("<unk>"), special("<s>"), special("<|endoftext|>")])
    tokenizer.add_special_tokens([special(f"<|{n}|>", rstrip=True) for n in ("assistant", "system", "end", "user")])
    tokenizer.add_tokens([special("</s>", rstrip=True, is_special=False)])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    added = tokenizer.get_added_tokens_decoder()
    write_json(
        folder / "added_tokens.json",
        {t.content: i for i, t in sorted(added.items()) if i >= model.vocab_size()},
    )
    write_config(
        folder,
        add_bos_token=False, add_eos_token=False, added_tokens_decoder=added_decoder(tokenizer), bos_token="<s>",
        eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="<unk>", chat_template=PHI_3_5_TEMPLATE,
        legacy=False, model_max_length=4096, tokenizer_class="LlamaTokenizer",
    )  # fmt: skip
    strings = STRINGS + CHAT_STRINGS + ["<s>Hello</s>  world", "<unk> x"]
    write_json(
        folder / "cases.json",
        {"cases": cases(tokenizer, strings), "chats": chat_cases(tokenizer, PHI_3_5_TEMPLATE, "<|endoftext|>")},
    )


def without_trainer_paths(data):
    """The model without the file names among the trainer's settings."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(data)
    del proto.trainer_spec.input[:]
    proto.trainer_spec.ClearField("model_prefix")
    return proto.SerializeToString(deterministic=True)


def converted(model):
    """The fast tokenizer that Phi-3's `tokenizer.json` describes, from a SentencePiece BPE."""
    pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    ordinary = lambda i: not (model.is_unknown(i) or model.is_control(i) or model.is_byte(i) or model.is_unused(i))
    merges = []
    for piece, i in vocab.items():
        if not ordinary(i):
            continue
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        pairs = [p for p in pairs if all(part in vocab and ordinary(vocab[part]) for part in p)]
        merges += [(-model.get_score(i), vocab[a], vocab[b], a, b) for a, b in pairs]
    merges = [(a, b) for *_, a, b in sorted(merges, key=lambda m: m[:3])]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def agree_with_sentencepiece(tokenizer, model):
    """The original library gives the same ids for text without added tokens."""
    for text in STRINGS:
        if re.search(r"<(unk|s|0x)", text):
            continue
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if model.encode(text) != ids:
            print("sentencepiece differs:", ascii(text), ids, model.encode(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    root = parser.parse_args().out / "tokenizers"
    shutil.rmtree(root, ignore_errors=True)
    for make in (gpt_4o, gpt_2, sentence_piece):
        make(root)
        print(make.__name__, "written")


if __name__ == "__main__":
    main()
