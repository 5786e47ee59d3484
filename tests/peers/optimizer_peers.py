"""Twelve updates of one of our optimizers and of a peer's on the same parameters and gradients, in fp32."""

import os
import subprocess

import torch
from safetensors.torch import load_file, save_file

UPDATES = 12
SHAPES = {"matrix": (6, 40), "tall": (70, 5), "vector": (40,)}
# Both sides round every element a few times an update in fp32; the square root of a mean of rounded squares, and Prodigy's sums in another
# order, are as close. Relative to how far a parameter has moved.
CLOSE = 2e-5


def starts(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def gradients(seed=5):
    """Rows and columns of unlike size, so that factored moments have something to find, and a direction that stays, for estimates of distance."""
    generator = torch.Generator().manual_seed(seed)
    direction = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    updates = []
    for _ in range(UPDATES):
        update = {}
        for name, shape in SHAPES.items():
            rows = torch.linspace(0.1, 2.0, shape[0]).view(-1, *[1] * (len(shape) - 1))
            update[name] = 0.01 * rows * (direction[name] + 0.5 * torch.randn(shape, generator=generator))
        updates.append(update)
    return updates


def ours(folder, **keys):
    arrays = {f"start.{name}": values for name, values in starts().items()}
    for number, update in enumerate(gradients()):
        arrays |= {f"gradient.{number}.{name}": values for name, values in update.items()}
    save_file(arrays, folder / "in.safetensors")
    program = os.path.join(os.environ["DORMER_BUILD"], "tests", "optimizer_probe")
    words = [f"{key}={value}" for key, value in {"updates": UPDATES, **keys}.items()]
    done = subprocess.run([program, folder / "in.safetensors", folder / "out.safetensors", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "out.safetensors")


def theirs(make, slope=0.0):
    """The peer's optimizer, and its parameters after all updates."""
    parameters = {name: torch.nn.Parameter(values) for name, values in starts().items()}
    optimizer = make(list(parameters.values()))
    rate = optimizer.param_groups[0]["lr"]
    for number, update in enumerate(gradients()):
        for name, values in update.items():
            parameters[name].grad = values.clone()
        if slope:
            optimizer.param_groups[0]["lr"] = rate * (1.0 - slope * number)
        optimizer.step()
    return optimizer, {name: values.detach().clone() for name, values in parameters.items()}


def expect_close(actual, expected, prefix="updated."):
    for name, start in starts().items():
        moved = (expected[name] - start).norm()
        assert moved > 1e-4, f"{name} hardly moved"
        difference = (actual[prefix + name] - expected[name]).norm() / moved
        assert difference < CLOSE, f"{name}: {difference:.2e} of its way"
