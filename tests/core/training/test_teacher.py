"""Sequence classifiers as teachers, on tiny networks of random weights that each test writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_core.dataset.labelled import Labelled
from sentiment_core.errors import InputError, ModelError, UsageError
from sentiment_core.training.recipes import TeacherSettings
from tests.support.runs import Killed, kill_at, labelled_reviews, note_steps, rows_of

torch = pytest.importorskip("torch", reason="PyTorch, of the extra `teacher`, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers, of the extra `teacher`, is not installed")
teacher_module: Any = pytest.importorskip("sentiment_core.training.teacher")
Teacher, fine_tune_teacher = teacher_module.Teacher, teacher_module.fine_tune_teacher

REVIEWS = labelled_reviews(260, seed=5)
DATA, HELD_OUT = rows_of(REVIEWS, slice(200)), rows_of(REVIEWS, slice(200, 260))
_WORDS = sorted({word for text in REVIEWS.texts.to_pylist() for word in text.lower().replace(".", " ").split()})
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,!?'", *_WORDS]
TEXTS = ["good", "a bad film, and a long one", None, "great great great", "", "the worst " * 30]
SMALL = TeacherSettings(
    max_tokens=40, head_tokens=12, epochs=6, batch_tokens=800, learning_rate=1e-2, checkpoint_seconds=1e9
)


@pytest.fixture
def encoder(tmp_path: Path) -> Callable[..., Path]:
    """Write a Hugging Face directory."""

    def encoder(*, labels: list[str] | int = 1, positions: int = 64, spread: float = 0.1) -> Path:
        path = tmp_path / "encoder"
        path.mkdir(exist_ok=True)
        (path / "vocab.txt").write_text("\n".join(dict.fromkeys(PIECES)) + "\n")
        tokenizer = transformers.BertTokenizer(str(path / "vocab.txt"), model_max_length=positions)
        names = [f"LABEL_{index}" for index in range(labels)] if isinstance(labels, int) else labels
        config = transformers.BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=positions,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            initializer_range=spread,
        )
        torch.manual_seed(0)
        transformers.BertForSequenceClassification(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return encoder


def logits_of(path: Path, text: str) -> Any:
    """By the library alone, in single precision."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        return network(**tokenizer(text, return_tensors="pt", truncation=False)).logits[0].double().numpy()


def softmax(logits: Any) -> Any:
    found = np.exp(logits - logits.max())
    return found / found.sum()


# Labels.


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (1, None),
        (2, [0, 1]),
        (3, [0, 0.5, 1]),
        (5, [0, 0.25, 0.5, 0.75, 1]),
        (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], [0, 0.25, 0.5, 0.75, 1]),
        (["POSITIVE", "NEGATIVE"], [1, 0]),
        (["neutral", "positive", "negative"], [0.5, 1, 0]),
    ],
    ids=str,
)
def test_a_probability_is_the_expected_class(encoder: Any, labels: Any, values: list[float] | None) -> None:
    path = encoder(labels=labels, spread=0.5)
    found = Teacher(path).probabilities(pa.array(TEXTS))
    assert found.shape == (6,)
    for text, probability in zip(TEXTS[:4], found):
        if text is None:
            continue
        logits = logits_of(path, text)
        expected = 1 / (1 + np.exp(-logits[0])) if values is None else softmax(logits) @ values
        assert probability == pytest.approx(expected, abs=0.03), "half precision"
    assert found[2] == found[4] == 0.5, "of nothing, nothing is known"
    assert np.ptp(found) > 0.05


def test_a_long_text_is_clipped_to_its_head_and_tail(encoder: Any) -> None:
    path = encoder(spread=0.5)
    words = [PIECES[40 + index % 30] for index in range(100)]
    teacher = Teacher(path, settings=TeacherSettings(max_tokens=20, head_tokens=6))
    clipped = " ".join(words[:6] + words[-12:])  # and its marks of begin and end
    found = teacher.probabilities(pa.array([" ".join(words), clipped, " ".join(words[:18]), " ".join(words[-18:])]))
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert abs(found[0] - found[2]) > 1e-3
    assert abs(found[0] - found[3]) > 1e-3


def test_a_text_is_labelled_alike_alone_and_among_others(encoder: Any) -> None:
    teacher = Teacher(encoder())
    together = teacher.probabilities(pa.chunked_array([REVIEWS.texts[:30], pa.array(["", "good"], pa.string())]))
    alone = [teacher.probabilities(pa.array([text]))[0] for text in REVIEWS.texts[:10].to_pylist()]
    np.testing.assert_allclose(alone, together[:10], atol=0.02)
    assert len(teacher.probabilities(pa.array([], pa.string()))) == 0


def test_texts_that_are_no_utf8_are_labelled(encoder: Any) -> None:
    assert Teacher(encoder()).probabilities(pa.array([b"\xff good", None])).shape == (2,)


def test_no_text_is_longer_than_the_network_takes(encoder: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        teacher = Teacher(encoder(positions=16))
    assert "texts are clipped to 16 word pieces, which is what the network takes" in caplog.messages
    assert np.isfinite(teacher.probabilities(pa.array(TEXTS))).all()


def test_nothing_is_printed_by_the_library(encoder: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Progress bars and warnings would stand among the log lines."""
    path = encoder()
    capfd.readouterr()
    Teacher(path).probabilities(pa.array(["good " * 5000]))
    fine_tune_teacher(path, DATA, validation=HELD_OUT, output=tmp_path / "teacher", settings=replace(SMALL, epochs=1))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# What is refused.


def test_other_numbers_of_classes_are_refused(encoder: Any) -> None:
    with pytest.raises(ModelError, match=r"has 4 classes; one, two .*, three .* or five \(stars\) are understood"):
        Teacher(encoder(labels=4))


def test_a_directory_without_a_network_is_refused(encoder: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: there is no config.json; name a local Hugging Face directory"):
        Teacher(tmp_path / "nowhere")
    path = encoder()
    torch.save({}, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no network with weights in safetensors that can be read"):
        Teacher(path)
    (path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="holds no network with weights in safetensors that can be read"):
        Teacher(path)


def test_a_directory_that_brings_code_is_refused(encoder: Any) -> None:
    path = encoder()
    config = json.loads((path / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Evil"}
    config["model_type"] = "evil"
    (path / "config.json").write_text(json.dumps(config))
    (path / "evil.py").write_text("raise SystemExit('code has run')\n")
    with pytest.raises(ModelError):
        Teacher(path)


# Fine-tuning.


def test_a_teacher_learns_and_is_what_was_measured(encoder: Any, tmp_path: Path) -> None:
    output = tmp_path / "new" / "teacher"
    report = fine_tune_teacher(encoder(), DATA, validation=HELD_OUT, output=output, settings=SMALL)
    assert sorted(path.name for path in output.parent.iterdir()) == ["teacher"]
    assert [epoch["epoch"] for epoch in report["history"]] == [1, 2, 3, 4, 5, 6]
    share = max(HELD_OUT.positive.mean(), 1 - HELD_OUT.positive.mean())
    assert report["validation"]["accuracy"] > share + 0.1
    assert report["validation"]["n"] == 60
    teacher = Teacher(output)
    assert (teacher.settings.max_tokens, teacher.settings.head_tokens) == (40, 12), "clipped as it was taught"
    right = (teacher.probabilities(HELD_OUT.texts) >= 0.5) == HELD_OUT.positive
    assert right.mean() == pytest.approx(report["validation"]["accuracy"], abs=0.04)


@pytest.mark.parametrize("killed_at", [1, 9])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    kind, path = teacher_module._TeacherTraining, encoder()
    settings = replace(SMALL, epochs=2)

    def teach(name: str, **options: Any) -> dict[str, Any]:
        usual = {"validation": HELD_OUT, "output": tmp_path / name, "settings": settings}
        report: dict[str, Any] = fine_tune_teacher(path, DATA, **(usual | options))
        return report

    whole = teach("whole")
    with monkeypatch.context() as patch:
        kill_at(patch, kind, killed_at)
        with pytest.raises(Killed):
            teach("killed", settings=replace(settings, checkpoint_seconds=0.0))
    assert not (tmp_path / "killed").exists()
    with pytest.raises(UsageError, match="holds an earlier run; go on with it by --resume"):
        teach("killed")
    with pytest.raises(InputError, match="belongs to a run on other reviews"):
        teach("killed", validation=rows_of(HELD_OUT, slice(50)), resume=True)
    steps = note_steps(monkeypatch, kind)
    resumed = teach("killed", resume=True)
    assert steps[0] == killed_at < steps[-1]
    for ours, theirs in zip(resumed["history"], whole["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert resumed["validation"] == pytest.approx(whole["validation"], rel=1e-3)
    found, expected = (Teacher(tmp_path / name).probabilities(HELD_OUT.texts) for name in ("killed", "whole"))
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_a_run_that_ended_before_it_was_saved_is_measured_again(
    encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, settings = encoder(), replace(SMALL, epochs=1)
    options: dict[str, Any] = {"validation": HELD_OUT, "output": tmp_path / "teacher", "settings": settings}
    with monkeypatch.context() as patch:
        patch.setattr(teacher_module.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            fine_tune_teacher(path, DATA, **options)
    report = fine_tune_teacher(path, DATA, resume=True, **options)
    assert report["validation"]["log_loss"] == pytest.approx(report["history"][-1]["validation_loss"], rel=1e-6)


def test_soft_targets_are_learnt_as_they_are(encoder: Any, tmp_path: Path) -> None:
    neutral = Labelled(texts=DATA.texts, positive=np.where(DATA.positive, 0.55, 0.45))
    neutral.positive[:2] = 0, 1
    fine_tune_teacher(
        encoder(), neutral, validation=HELD_OUT, output=tmp_path / "teacher", settings=replace(SMALL, epochs=10)
    )
    found = Teacher(tmp_path / "teacher").probabilities(DATA.texts)
    assert np.mean(np.abs(found - 0.5)) < 0.2


def test_one_class_and_one_batch_and_an_output_that_exists_are_refused(encoder: Any, tmp_path: Path) -> None:
    path = encoder()
    one = Labelled(texts=DATA.texts, positive=np.ones(len(DATA), bool))
    with pytest.raises(InputError, match="both classes"):
        fine_tune_teacher(path, one, validation=HELD_OUT, output=tmp_path / "out", settings=SMALL)
    with pytest.raises(InputError, match="200 texts are one batch only"):
        fine_tune_teacher(
            path, DATA, validation=HELD_OUT, output=tmp_path / "out", settings=replace(SMALL, batch_tokens=10**6)
        )
    with pytest.raises(UsageError, match="encoder: exists already; name a new directory"):
        fine_tune_teacher(path, DATA, validation=HELD_OUT, output=path, settings=SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["encoder"]


# The verbs.


def test_teach_then_label_with_the_teacher(encoder: Any, sentiment: Any, tmp_path: Path) -> None:
    soft = np.where(REVIEWS.positive, 1.0, 0.0)
    soft[::9] = 0.5
    pq.write_table(pa.table({"text": REVIEWS.texts, "label": soft}), tmp_path / "in.parquet")
    usual = ["--input", tmp_path / "in.parquet", "--soft-labels", "--validation-fraction", 0.2]
    recipe = ["--epochs", 2, "--max-tokens", 40, "--head-tokens", 12, "--batch-tokens", 800, "--learning-rate", 3e-3]
    output = ["--encoder", encoder(), "--output", tmp_path / "teacher"]
    code, (report,), sentence = sentiment("teach", *usual, *recipe, *output)
    assert code == 0, sentence
    assert f"validation accuracy {report['validation']['accuracy']:.4f}" in sentence
    code, (told,), sentence = sentiment(
        "label", *usual, "--unlabelled", tmp_path / "in.parquet", "--teacher", tmp_path / "teacher",
        "--no-linear", "--output", tmp_path / "labels.parquet",
    )  # fmt: skip
    assert code == 0, sentence
    assert told.keys() >= {"teacher", "ensemble"}
    assert "linear" not in told
    assert told["teacher"]["n"] == report["validation"]["n"] < 0.2 * 260 + 20, "neutral ones are not measured"
    table = pq.read_table(tmp_path / "labels.parquet")
    probabilities = Teacher(tmp_path / "teacher").probabilities(table["text"])
    logits = np.log(probabilities / (1 - probabilities))
    expected = 1 / (1 + np.exp(-(told["weights"][0] * logits + told["weights"][1])))
    np.testing.assert_allclose(table["teacher_probability"], expected, atol=0.02)


def test_teach_refuses_a_directory_that_is_no_encoder_and_a_gpu_that_is_not_there(
    encoder: Any, sentiment: Any, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"text": REVIEWS.texts, "label": REVIEWS.positive}), tmp_path / "in.parquet")
    usual = ["teach", "--input", tmp_path / "in.parquet", "--output", tmp_path / "teacher"]
    code, rows, sentence = sentiment(*usual, "--encoder", tmp_path)
    assert (code, rows) == (3, []), sentence
    assert "there is no config.json" in sentence
    if not torch.cuda.is_available():
        code, rows, sentence = sentiment(*usual, "--encoder", encoder(), "--device", "gpu:0")
        assert (code, rows) == (6, []), sentence
        assert "PyTorch finds 0 GPUs" in sentence
    shutil.rmtree(tmp_path / "encoder", ignore_errors=True)
    assert not (tmp_path / "teacher").exists()
