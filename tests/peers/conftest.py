import os

import pytest
import torch

from models import ADAPTER_CASES, MODEL_CASES, add_adapter, load_model, make_model, make_tokens

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning:transformers")


def pytest_collection_modifyitems(items):
    """Every adapter case runs on the Llama models; the other families run DoRA on all linear layers, which sees all their parts.
    Qwen 2 has biases, which train with whole layers."""
    def is_meant(item):
        values = getattr(item, "callspec", None) and item.callspec.params
        model, adapter = (values.get("model_case"), values.get("adapter_case")) if values else (None, None)
        return model is None or adapter is None or model.model_type == "llama" or adapter.name == "dora" or (model.name == "qwen2" and adapter.whole)

    items[:] = [item for item in items if is_meant(item)]


@pytest.fixture(scope="session")
def program():
    """The program dormer, named by CTest."""
    return os.environ["DORMER_PROGRAM"]


@pytest.fixture(scope="session")
def probe():
    """tests/peers/probe.cpp, built."""
    return os.path.join(os.environ["DORMER_BUILD"], "tests", "peers_probe")


@pytest.fixture(scope="session", params=MODEL_CASES, ids=lambda case: case.name)
def model_case(request):
    return request.param


@pytest.fixture(scope="session", params=ADAPTER_CASES, ids=lambda case: case.name)
def adapter_case(request):
    return request.param


@pytest.fixture(scope="session")
def model_folder(model_case, tmp_path_factory):
    return make_model(model_case, tmp_path_factory.mktemp(model_case.name) / "model")


@pytest.fixture(scope="session")
def adapter_folder(model_folder, adapter_case, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{model_folder.parent.name}-{adapter_case.name}") / "adapter"
    add_adapter(load_model(model_folder), adapter_case, seed=11).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def token_files(model_case, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{model_case.name}-tokens")
    vocabulary = model_case.sizes["vocab_size"]
    return (make_tokens(folder / "train.h5", 60, vocabulary, seed=21), make_tokens(folder / "validation.h5", 12, vocabulary, seed=22))
