#!/usr/bin/env python3
"""Time and memory of one update of every kind of adapter, plain and decomposed on either axis, beside PEFT's and LyCORIS's same kind.

Every program runs in a process of its own and does one update in turn: a chain of equal layers forward and backward, AdamW, and
what the next update needs of the new parameters. Prints a Markdown table of medians, with peak memory beyond the frozen layers; ratios
are medians of the rounds' own, whose updates follow one another, so that a machine that slows down for a while moves none of them.
Where a process's memory lies makes its updates some hundredths slower or quicker for its whole life: ours start anew several times.

Example: tests/bench/kinds_against_peers.py --starts 5
         tests/bench/kinds_against_peers.py --only 'loha' --width 2048 --dtype bfloat16
"""
import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# form, kind, options of ours, PEFT's name of the kind (None: it has none) and options of LyCORIS's module
LINEAR = {"form": "linear", "width": 1024, "samples": 4, "extent": 256}
IMAGE = {"form": "convolution", "width": 256, "samples": 2, "extent": 32, "kernel": 3, "axes": 2}
CASES = [
    ("linear", "lora", LINEAR, {}, "lora", {}),
    ("linear", "loha", LINEAR, {}, "loha", {}),
    ("linear", "lokr", LINEAR, {}, "lokr", {}),
    ("linear", "lokr, whole factors", LINEAR, {"full_matrix": 1}, None, {"full_matrix": True}),
    ("conv2d", "locon", IMAGE, {}, "lora", {}),
    ("conv2d", "locon, Tucker", IMAGE, {"tucker": 1}, None, {"use_tucker": True}),
    ("conv2d", "loha", IMAGE, {}, "loha", {}),
    ("conv2d", "loha, Tucker", IMAGE, {"tucker": 1}, None, {"use_tucker": True}),
    ("conv2d", "lokr", IMAGE, {}, "lokr", {}),
    ("conv2d", "lokr, Tucker", IMAGE, {"tucker": 1}, None, {"use_tucker": True}),
    ("grouped conv2d", "locon", IMAGE | {"groups": 4}, {}, None, {}),
    ("conv1d", "locon", IMAGE | {"axes": 1, "extent": 512}, {}, "lora", {}),
]


# --- a peer, in a process of its own --------------------------------------------------------------------------------------------------------


def memory_of_process(name):
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))


def make_chain(torch, keys, dtype):
    linear = keys["form"] == "linear"
    width, axes, groups, kernel = keys["width"], 0 if linear else keys["axes"], keys.get("groups", 1), keys.get("kernel", 1)
    layers = []
    for _ in range(keys["depth"]):
        if linear:
            layer = torch.nn.Linear(width, width, bias=False)
        else:
            kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[axes - 1]
            layer = kind(width, width, kernel, padding=kernel // 2, groups=groups, bias=False)
        torch.nn.init.normal_(layer.weight, std=(width // groups * kernel**axes) ** -0.5)
        layers.append(layer)
    chain = torch.nn.Sequential(*layers).to(dtype).requires_grad_(False)
    x = torch.randn([keys["samples"] * keys["extent"], width] if linear else [keys["samples"], width] + [keys["extent"]] * axes, dtype=dtype)
    return chain, x


def adapt_with_peft(chain, kind, rank, axis):
    import peft

    targets = [str(i) for i in range(len(chain))]
    if kind == "lora":
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, use_dora=axis == "output")
    else:
        config = {"loha": peft.LoHaConfig, "lokr": peft.LoKrConfig}[kind](r=rank, alpha=rank, target_modules=targets)
    model = peft.get_peft_model(chain, config)
    model.train()
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def adapt_with_lycoris(chain, kind, rank, axis, options):
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

    modules = []
    for i, layer in enumerate(chain):
        module = {"lora": LoConModule, "locon": LoConModule, "loha": LohaModule, "lokr": LokrModule}[kind](
            f"layer_{i}", layer, 1.0, rank, rank, weight_decompose=axis != "none", wd_on_out=axis == "output", **options)
        module.train()
        module.apply_to()
        modules.append(module)
    chain.adapters = modules  # they must outlive this function
    return chain, [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]


def be_peer(words):
    import warnings

    import torch

    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # LyCORIS logs to standard output
    program, kind, axis = words["program"], words["kind"], words["axis"]
    torch.set_num_threads(words["threads"])
    torch.manual_seed(1)
    chain, x = make_chain(torch, words, getattr(torch, words["dtype"]))
    y_gradient = torch.randn_like(x) / x.numel()
    if program == "peft":
        import peft  # noqa: F401  what it loads is not counted
    else:
        import lycoris  # noqa: F401
    chain(x.clone().requires_grad_(True)).backward(y_gradient)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_of_process("VmRSS")
    if program == "peft":
        model, parameters = adapt_with_peft(chain, kind, words["rank"], axis)
    else:
        model, parameters = adapt_with_lycoris(chain, kind, words["rank"], axis, words["options"])
    for parameter in parameters:  # zero factors would leave whole products out
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.01)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
    for _ in sys.stdin:
        start = time.perf_counter()
        model(x.detach().requires_grad_(True)).backward(y_gradient)  # as in a model, whose layers have others before them
        optimizer.step()
        optimizer.zero_grad()
        print(f"{time.perf_counter() - start:.6f}", file=answers, flush=True)
    print(memory_of_process("VmHWM") - before, file=answers, flush=True)


# --- the table ------------------------------------------------------------------------------------------------------------------------------


class Program:
    """One process that does an update a line."""

    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.process = None
        self.seconds = []
        self.peak = 0

    def start(self):
        if self.process:
            self.end()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.update()  # pays for pages and kernels
        self.seconds.pop()

    def update(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with {self.process.wait()}")
        self.seconds.append(float(line))

    def end(self):
        self.process.stdin.close()
        self.peak = max(self.peak, int(self.process.stdout.readline()))
        self.process.wait()

    @property
    def median(self):
        return statistics.median(self.seconds)

    def times_of(self, other):
        """How many of the other's updates one of these takes."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds))


def programs_of(case, arguments):
    _, name, sizes, ours, peft_kind, lycoris_options = case
    kind = name.split(",")[0]
    shared = sizes | {"depth": arguments.depth, "dtype": arguments.dtype, "threads": arguments.threads, "rank": arguments.rank}
    if arguments.width:
        shared["width"] = arguments.width
    for axis in ("none", "output", "input"):
        keys = shared | ours | {"kind": kind, "axis": axis}
        yield Program(f"dormer {axis}", [str(arguments.program)] + [f"{key}={value}" for key, value in keys.items()])
    if arguments.without_peers:
        return
    peers = [("peft", peft_kind, axis, {}) for axis in (("none", "output") if peft_kind == "lora" else ("none",)) if peft_kind]
    peers += [("lycoris", kind, axis, lycoris_options) for axis in ("none", "output", "input")]
    for program, peer_kind, axis, options in peers:
        words = shared | {"program": program, "kind": peer_kind, "axis": axis, "options": options}
        yield Program(f"{program} {axis}", [sys.executable, __file__, "--peer", repr(words)])


def measure(case, arguments):
    programs = {program.name: program for program in programs_of(case, arguments)}
    for start in range(arguments.starts):
        for program in programs.values():
            if start == 0 or program.name.startswith("dormer"):
                program.start()
        for _ in range(arguments.rounds):
            for program in programs.values():
                program.update()
    for program in programs.values():
        program.end()
    return programs


def row(case, programs):
    form, name = case[:2]
    cells = [form, name]
    for axis in ("none", "output", "input"):
        ours = programs[f"dormer {axis}"]
        cell = f"{1e3 * ours.median:.1f} ms, {ours.peak / 1e6:.0f} MB"
        if axis != "none":
            cell += f" ({ours.times_of(programs['dormer none']):.3f})"
        cells.append(cell)
    for peer in ("peft", "lycoris"):
        parts = []
        for axis in ("none", "output", "input"):
            if found := programs.get(f"{peer} {axis}"):
                ours = programs[f"dormer {axis}"]
                parts.append(f"{found.times_of(ours):.2f}x, {found.peak / 1e6:.0f} MB")
        cells.append("; ".join(parts) or "none")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/tests/layer_updates")
    parser.add_argument("--only", default="", help="cases whose form and kind match this pattern")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--width", type=int, default=0, help="channels of every layer (0: the case's own)")
    for name, default in (("rank", 16), ("threads", 2), ("starts", 3), ("rounds", 5), ("depth", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--without-peers", action="store_true", help="ours alone, many times in little time")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        import ast

        be_peer(ast.literal_eval(arguments.peer))
        return
    print(f"{arguments.dtype}, rank {arguments.rank}, {arguments.depth} layers, {arguments.threads} threads, medians of {arguments.starts} x {arguments.rounds}\n")
    print("| layers | kind | plain | output axis (of plain) | input axis (of plain) | PEFT: time of ours | LyCORIS: time of ours |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if re.search(arguments.only, f"{case[0]} {case[1]}"):
            print(row(case, measure(case, arguments)), flush=True)


if __name__ == "__main__":
    main()
