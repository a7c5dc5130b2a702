"""What a broken model directory says, and what the chat template and the text stream do."""

import json
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of
from weft.core.errors import CheckpointError, RequestError, RunError, WireError
from weft.core.message import Message
from weft.runtime.engines.chat import Chat, TextStream
from weft.runtime.engines.checkpoint import hash_model
from weft.runtime.engines.torch_engine import TorchEngine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return checkpoints.chat_model(tmp_path)


def edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "LlamaForCausalLM, MistralForCausalLM"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "default, linear, llama3"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "is quantised"),
        ({"num_hidden_layers": 4}, "model.layers.3.self_attn.q_proj.weight"),
        ({"intermediate_size": 100}, "config.json makes it ("),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(directory: Path, changes: dict[str, object], said: str) -> None:
    edit_config(directory, **changes)
    with pytest.raises(CheckpointError) as refusal:
        TorchEngine.load(directory)
    assert said in str(refusal.value)


def test_files_that_are_missing_or_cut(directory: Path) -> None:
    weights = directory / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        TorchEngine.load(directory)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: does not exist"):
        TorchEngine.load(directory)
    (directory / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        TorchEngine.load(directory)


def test_a_sharded_checkpoint_is_the_same_model(tmp_path: Path) -> None:
    model = checkpoints.llama()
    whole = TorchEngine.load(checkpoints.save(model, tmp_path / "whole"))
    sharded_dir = checkpoints.save(model, tmp_path / "sharded", max_shard_size="100KB")
    assert len(list(sharded_dir.glob("model-*.safetensors"))) > 1
    sharded = TorchEngine.load(sharded_dir)
    prompt = [5, 6, 7]
    tokens = [reply_of(engine, prompt, 9) for engine in (whole, sharded)]
    assert tokens[0] == tokens[1]


def test_the_hash_tells_fine_tunes_apart(tmp_path: Path) -> None:
    one, two = checkpoints.llama(), checkpoints.llama()
    directories = [checkpoints.save(model, tmp_path / name) for model, name in ((one, "a"), (one, "b"), (two, "c"))]
    hashes = [hash_model(directory) for directory in directories]
    assert hashes[0] == hashes[1] != hashes[2]


def test_bad_prompts_and_foreign_sequences_are_refused(
    directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = TorchEngine.load(directory)
    for prompt in ([], [1] * 512, [300], [-1]):
        with pytest.raises((RequestError, RunError), match="prompt"):
            engine.prefill(prompt)
    prefilled = engine.prefill([1, 2])
    other = TorchEngine.load(checkpoints.chat_model(tmp_path_factory.mktemp("other"), num_hidden_layers=2))
    with pytest.raises(WireError, match="same checkpoint"):
        other.import_kv(engine.export_kv(prefilled.sequence), prefilled.first_token)
    engine.release(prefilled.sequence)
    with pytest.raises(RunError, match="is not held"):
        engine.export_kv(prefilled.sequence)


def test_decoding_ends_where_the_context_does(directory: Path) -> None:
    engine = TorchEngine.load(directory)
    prefilled = engine.prefill([1] * 500)
    assert len(list(engine.decode(prefilled.sequence, 10_000))) == 12


def test_chat_template_and_streamed_text(directory: Path) -> None:
    chat = Chat.load(directory)
    prompt = chat.encode((Message("user", "héllo"), Message("tool", "ok")))
    assert chat.decode(prompt) == "héllook"
    assert len(prompt) == 1 + 6 + 1 + 1 + 2 + 1 + 1  # é has two bytes
    stream = TextStream(chat)
    pieces = [stream.push(token) for token in chat.encode((Message("user", "zwölf €, 你好"),))]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) + stream.finish() == stream.text == "zwölf €, 你好"
    broken = TextStream(chat)  # a reply that ends inside a character
    assert [broken.push(token) for token in chat.encode((Message("user", "a€"),))[1:3]] == ["a", ""]
    assert broken.finish() == "\ufffd"


def test_a_model_without_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no tokenizer that loads"):
        Chat.load(checkpoints.save(checkpoints.llama(), tmp_path / "bare"))
    directory = checkpoints.chat_model(tmp_path / "plain")
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="no chat template"):
        Chat.load(directory)
