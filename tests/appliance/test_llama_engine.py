"""The engine on the demonstration release: what it feeds and guesses changes nothing.

The reference is plain: no text is fed, nothing is guessed, one token at a time is chosen by
llama.cpp's own grammar sampler.
"""

import ctypes
import json
from collections import Counter
from collections.abc import Iterator, Sequence

import llama_cpp
import numpy as np
import pytest

from appliance.core.caption import (
    FIELDS,
    MAX_FIELD_CHARACTERS,
    label_opening,
    label_prefix,
    parse_caption,
)
from appliance.core.labels import DOMAINS
from appliance.core.prompt import split_prompt
from appliance.edges import llama_engine
from appliance.edges.llama_decoder import Decoder, EngineError, Row
from appliance.edges.llama_engine import SCORED_AT_ONCE, Engine
from appliance.edges.vision_encoders import Encode, ggml_encoder
from appliance.release.drawings import draw
from appliance.release.manifest import Release, read_release
from appliance.release.shelf import BUILT_IN


@pytest.fixture(scope="module")
def release() -> Release:
    return read_release(BUILT_IN)


@pytest.fixture(scope="module")
def decoder(release: Release) -> Decoder:
    return Decoder(str(release.model), threads=1, sequences=SCORED_AT_ONCE + 1)


@pytest.fixture(scope="module")
def encode(release: Release, decoder: Decoder) -> Encode:
    return ggml_encoder(str(release.projector), decoder.model, release.card.image_size, threads=1)


def engine(release: Release, decoder: Decoder, encode: Encode, captions: list[str]) -> Engine:
    card = release.card
    return Engine(decoder, encode, card.labels, card.image_size, card.prompt_version, captions)


def pictures(release: Release, count: int) -> Iterator[bytes]:
    """Drawings, each mixed with coarse random colours: captions of many kinds."""
    size = release.card.image_size
    rng = np.random.default_rng(0)
    for number in range(count):
        drawn = draw(DOMAINS[number % len(DOMAINS)], number, size).rgb
        coarse = rng.integers(0, 255, (8, 8, 3)).repeat(size // 8, 0).repeat(size // 8, 1)
        mixed = np.frombuffer(drawn, np.uint8).reshape(size, size, 3) * 0.6 + coarse * 0.4
        yield mixed.astype(np.uint8).tobytes()


def caption_grammar(labels: list[str]) -> str:
    """GBNF of one caption."""

    def literal(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    names = " | ".join(literal(json.dumps(name, ensure_ascii=False)) for name in labels)
    parts = [literal('{"label": '), "label"]
    for name in FIELDS[1:]:
        parts += [literal(f', "{name}": "'), "text", literal('"')]
    parts.append(literal("}"))
    text = r'first [^"\\\x00-\x1F\x7F]*'
    return (
        f"root ::= {' '.join(parts)}\nlabel ::= {names}\ntext ::= {text}\n"
        'first ::= [^"\\\\\\x00-\\x20\\x7F]\n'
    )


def plainly(release: Release, decoder: Decoder, soft_tokens: np.ndarray, label: str) -> str:
    """Greedy under llama.cpp's grammar sampler, token by token from the label on."""
    before, after = (decoder.tokens(text) for text in split_prompt())
    decoder.clear()
    position = decoder.decode_tokens([*decoder.opening(), *before], 0)
    position = decoder.decode_soft_tokens(soft_tokens, position)
    written = decoder.tokens(label_prefix(label))  # not cut: `",` is one token
    position = decoder.decode_tokens([*after, *written], position)
    grammar = caption_grammar(list(release.card.labels.names)).encode()
    sampler = llama_cpp.llama_sampler_init_grammar(decoder._vocab, grammar, b"root")
    assert sampler
    for begun in written:
        llama_cpp.llama_sampler_accept(sampler, begun)
    data = (llama_cpp.llama_token_data * decoder.vocabulary)()
    while True:
        for index, logit in enumerate(decoder.logits(-1).tolist()):
            data[index] = llama_cpp.llama_token_data(index, logit, 0.0)
        array = llama_cpp.llama_token_data_array(data, len(data), -1, False)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        token = int(np.argmax([item.logit for item in data]))
        if llama_cpp.llama_vocab_is_eog(decoder._vocab, token):
            llama_cpp.llama_sampler_free(sampler)
            return b"".join(map(decoder.piece, written)).decode()
        llama_cpp.llama_sampler_accept(sampler, token)
        written.append(token)
        position = decoder.decode_tokens([token], position)


def test_what_is_fed_and_guessed_is_what_plain_greedy_decoding_writes(
    release: Release, decoder: Decoder, encode: Encode
) -> None:
    shown = list(pictures(release, 12))
    one_by_one = engine(release, decoder, encode, [])
    alone = [one_by_one.read(rgb) for rgb in shown]
    assert len({answer.text for answer in alone}) > 5
    bank = [text for text, _ in Counter(answer.text for answer in alone).most_common()]
    for captions in (bank[:2], bank[::-1], ["nothing like a caption at all", *bank[1:]]):
        guessing = engine(release, decoder, encode, captions)
        for rgb, answer in zip(shown, alone, strict=True):
            found = guessing.read(rgb)
            assert (found.text, found.label_scores) == (answer.text, answer.label_scores)
            assert guessing.read(rgb, guess=False).text == answer.text
    for rgb, answer in zip(shown, alone, strict=True):
        label = parse_caption(answer.text, release.card.labels).label
        assert plainly(release, decoder, encode(rgb), label) == answer.text


def test_good_guesses_spare_most_of_the_batches(
    release: Release, decoder: Decoder, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = next(pictures(release, 1))
    text = engine(release, decoder, encode, []).read(rgb).text
    guessing = engine(release, decoder, encode, [text])
    batches: list[int] = []
    decode = decoder.decode

    def counting(rows: Sequence[Row]) -> None:
        batches.append(len(rows))
        decode(rows)

    monkeypatch.setattr(decoder, "decode", counting)
    guessing.read(rgb, guess=False)
    plain = len(batches)
    batches.clear()
    guessing.read(rgb)
    assert len(batches) <= plain / 2


def test_a_thin_lead_is_decided_by_the_token_alone(
    release: Release, decoder: Decoder, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every lead called thin, every token is decoded again alone: the text is the same."""
    rgb = next(pictures(release, 1))
    text = engine(release, decoder, encode, []).read(rgb).text
    monkeypatch.setattr(llama_engine, "THIN_LEAD", 1e9)
    assert engine(release, decoder, encode, [text]).read(rgb).text == text


def test_every_label_scores_as_if_it_were_alone(
    release: Release, decoder: Decoder, encode: Encode
) -> None:
    """Batched over shared sequences, or one label after another in a cache of its own."""
    rgb = next(pictures(release, 1))
    scores = engine(release, decoder, encode, []).read(rgb).label_scores
    before, after = (decoder.tokens(text) for text in split_prompt())
    for name, score in zip(release.card.labels.names, scores, strict=True):
        tokens = decoder.tokens(label_prefix(name))
        through = len(decoder.tokens(label_opening(name)))
        decoder.clear()
        position = decoder.decode_tokens([*decoder.opening(), *before], 0)
        position = decoder.decode_soft_tokens(encode(rgb), position)
        position = decoder.decode_tokens(after, position)
        alone = 0.0
        for place, token in enumerate(tokens[:through]):
            if place >= 4:  # `{"label": "` is common to all
                alone += float(decoder.log_probabilities(-1, [token])[0])
            position = decoder.decode_tokens([token], position)
        assert score == pytest.approx(alone, abs=2e-3), name


def test_a_field_that_would_never_end_is_closed_where_it_must_be(
    release: Release, decoder: Decoder, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that writes the same word for ever is held to the form, and told apart after."""
    word = decoder.tokens(" lesion")[-1]
    favour = np.zeros(decoder.vocabulary, np.float32)
    favour[word] = 1e6
    logits = decoder.logits
    monkeypatch.setattr(decoder, "logits", lambda row: logits(row) + favour)
    monkeypatch.setattr(llama_engine, "MOST_CAPTION_TOKENS", 4000)
    text = engine(release, decoder, encode, []).read(next(pictures(release, 1))).text
    fields = json.loads(text)
    assert [len(fields[name]) for name in FIELDS[1:]] == [MAX_FIELD_CHARACTERS] * 4
    with pytest.raises(ValueError, match="characters or more"):
        parse_caption(text, release.card.labels)


def test_a_runaway_caption_is_cut_at_its_most_tokens(
    release: Release, decoder: Decoder, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_engine, "MOST_CAPTION_TOKENS", 12)
    text = engine(release, decoder, encode, []).read(next(pictures(release, 1))).text
    assert len(decoder.tokens(text)) < 40
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_caption(text, release.card.labels)


def test_a_picture_is_encoded_once_for_its_features_and_its_reading(
    release: Release, decoder: Decoder, encode: Encode
) -> None:
    encoded: list[bytes] = []

    def counting(rgb: bytes) -> np.ndarray:
        encoded.append(rgb)
        return encode(rgb)

    counted = engine(release, decoder, counting, [])
    first, second = pictures(release, 2)
    counted.embed(first)
    counted.read(first)
    counted.read(first)
    assert encoded == [first]
    counted.read(second)
    counted.forget_picture()
    counted.read(second)
    assert encoded == [first, second, second]


def test_labels_that_cannot_be_told_apart_are_refused(
    release: Release, decoder: Decoder, encode: Encode
) -> None:
    from appliance.core.labels import Label, LabelSet

    long = LabelSet((Label("眼" * 80, "skin"), Label("melanoma", "skin")))
    with pytest.raises(EngineError, match="a label has more than"):
        Engine(decoder, encode, long, release.card.image_size, 1, [])
