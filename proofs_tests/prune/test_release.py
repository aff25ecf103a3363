"""After `release` a model is again what it was: no hook, no import of this project."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as theirs

from proofs_tests.tools.masked import alive, half_of, network, train, x
from prune import apply, compact, release
from prune.enforce import is_guard
from prune.held import mask_of

HOOKS = ("_forward_pre_hooks", "_state_dict_pre_hooks", "_load_state_dict_post_hooks")


def masked():
    model = network()
    apply(model, half_of(model))
    return model


FORMS = {"masked": lambda m: m, "released": release, "compact": lambda m: compact(m, x())}
forms = pytest.mark.parametrize("finish", FORMS.values(), ids=FORMS)


def hooks_of(model):
    return [hook for m in model.modules() for kind in HOOKS for hook in getattr(m, kind).values()]


def test_nothing_is_left():
    """Hooks of others stay."""
    model, untouched = masked(), network()
    handle = model[0].register_forward_pre_hook(lambda *_: None)
    train(model)
    assert any(is_guard(hook) for hook in hooks_of(model))
    release(model)
    assert [is_guard(hook) for hook in hooks_of(model)] == [False]
    handle.remove()
    for module, plain in zip(model.modules(), untouched.modules()):
        assert module.__dict__.keys() == plain.__dict__.keys()
    for weight in model.parameters():
        assert mask_of(weight) is None and not weight._post_accumulate_grad_hooks


def test_weights_may_grow_back():
    model = masked()
    masks = half_of(model)
    release(model)
    assert all(alive(model.get_parameter(name), mask) == 0 for name, mask in masks.items())
    train(model)
    assert all(alive(model.get_parameter(name), mask) for name, mask in masks.items())


def test_a_released_model_can_be_masked_again():
    model = release(masked())
    masks = half_of(model, seed=1)
    apply(model, masks)
    train(model)
    assert all(alive(model.get_parameter(name), mask) == 0 for name, mask in masks.items())


def test_masks_of_torch_stay():
    """Bug report 37: `release` broke them."""
    model = network()
    theirs.l1_unstructured(model[4], "weight", 0.5)
    apply(model, {"0.weight": half_of(model)["0.weight"]})
    kept = model[4].weight_mask.clone()
    release(model)
    train(model)
    assert torch.equal(model[4].weight != 0, kept != 0)


LOAD = """
import sys
sys.path.append(sys.argv[2])
import torch
print(torch.load(sys.argv[1], weights_only=False)(torch.ones(1, 2, 4, 4)).shape)
try:
    import prune
except ModuleNotFoundError:
    print("prune is not there")
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["released", "compact"])
def test_a_saved_model_loads_where_this_project_is_not_installed(tmp_path, form):
    """Bug report 10."""
    torch.save(FORMS[form](masked()), tmp_path / "model.pt")
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    packages = os.path.dirname(os.path.dirname(torch.__file__))
    line = [sys.executable, "-S", "-c", LOAD, str(tmp_path / "model.pt"), packages]
    ended = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True)
    assert ended.stdout == "torch.Size([1, 3])\nprune is not there\n", ended.stderr


def test_masks_in_a_file_take_a_byte_for_each_weight(tmp_path):
    """Bug report 10: the file of a masked model was twice the size."""
    model = nn.Sequential(nn.Linear(300, 300))
    torch.save(model, tmp_path / "dense.pt")
    apply(model, half_of(model))
    torch.save(model, tmp_path / "masked.pt")
    dense, with_masks = ((tmp_path / f"{n}.pt").stat().st_size for n in ("dense", "masked"))
    assert 300 * 300 <= with_masks - dense < 1.1 * 300 * 300


@forms
@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_torch_export(finish, strict):
    """Bug report 24. No product by masks is in the program."""
    model = finish(masked().eval())
    program = torch.export.export(model, (x(),), strict=strict)
    assert torch.equal(program.module()(x()), model(x()))
    assert "mul" not in program.graph_module.code


@forms
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx(finish, tmp_path):
    pytest.importorskip("onnxscript")
    model = finish(masked().eval())
    torch.onnx.export(model, (x(),), tmp_path / "model.onnx", verbose=False)
    assert (tmp_path / "model.onnx").stat().st_size > 100


@forms
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_torchscript(finish):
    """Bug report 23. A trace holds no products by masks; a script is refused in plain words."""
    model = finish(masked().eval())
    trace = torch.jit.trace(model, x())
    assert torch.equal(trace(x()), model(x()))
    assert "mul" not in getattr(trace, "0").code
    if any(is_guard(hook) for hook in hooks_of(model)):
        with pytest.raises(AttributeError, match=r"call release\(model\) first$"):
            torch.jit.script(model)
    else:
        assert torch.equal(torch.jit.script(model)(x()), model(x()))


def test_a_copy_can_be_released_alone():
    model = masked()
    clone = release(copy.deepcopy(model))
    assert hooks_of(clone) == []
    train(model)
    assert all(alive(model.get_parameter(n), mask) == 0 for n, mask in half_of(model).items())
