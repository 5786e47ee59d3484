"""Tokens/s of whole updates beside PEFT's, and bytes/s of every kernel."""
import json
import statistics

from random_model import DRY_SHAPE, Shape, write_model
from steps import Context, Finding, StepFailed, table


OURS = {"floor": "frozen products alone", "lora": "dormer LoRA", "dora": "dormer DoRA"}


def measured_model(context: Context):
    """SmolLM2-135M's shape, random; in a dry run a small part of it."""
    folder = context.work / "measured"
    if not folder.exists():
        write_model(folder, DRY_SHAPE if context.dry else Shape(), context.work / "data" / "model" / "tokenizer.json")
    return folder


def rows_of(seconds: dict[str, list[float]], tokens: int) -> list[list[str]]:
    """Name, best and median tokens/s, and time beside dormer's LoRA and PEFT's."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    share = lambda name, other: f"{middle[other] / middle[name]:.2f}" if other in middle else ""
    return [[name, f"{tokens / min(values):.0f}", f"{tokens / middle[name]:.0f}", share(name, "dormer LoRA"), share(name, "PEFT LoRA")]
            for name, values in seconds.items()]


def throughput(context: Context) -> Finding:
    """Updates of one micro-batch, rank 16 on all linear layers: dormer's and PEFT's."""
    common = ["--model", measured_model(context), "--rank", 16, "--threads", context.threads, "--rounds", 2 if context.dry else 9,
              "--device", context.device]
    jobs = [("bfloat16", 1, 64), ("float32", 1, 64)] if context.dry else [("bfloat16", 4, 256), ("bfloat16", 16, 1024), ("float32", 4, 256)]
    measured = []
    for dtype, samples, length in jobs:
        text = context.dormer("bench", *common, "--dtype", dtype, "--samples", samples, "--length", length, "--json").stdout
        measured.append({OURS[name]: values for name, values in json.loads(text).items()})
    words = [word for job in jobs for word in ("--job", ":".join(map(str, job)))]
    peer = context.run([context.python, context.bundle / "check" / "peft_updates.py", *common, *words], allowed=(0, 3))
    beside = "no comparison with PEFT: " + (peer.stderr.strip().splitlines() or ["it is not installed"])[-1]
    if peer.returncode == 0:
        said = json.loads(peer.stdout.strip().splitlines()[-1])
        beside = said["versions"]
        for ours, (lora, dora) in zip(measured, said["seconds"]):
            ours |= {"PEFT LoRA": lora, "PEFT DoRA": dora}
    parts = []
    for (dtype, samples, length), seconds in zip(jobs, measured):
        rows = rows_of(seconds, samples * length)
        parts.append(f"{dtype}, {samples}x{length} tokens\n\n" + table(["", "best tokens/s", "median", "of dormer LoRA", "of PEFT LoRA"], rows))
    rates = {row[0]: row[2] for row in rows_of(measured[0], jobs[0][1] * jobs[0][2])}
    shown = ", ".join(f"{name} {rate}" for name, rate in rates.items() if name != OURS["floor"])
    return Finding(f"{context.where}, tokens/s in {jobs[0][0]}, {jobs[0][1]}x{jobs[0][2]}: {shown} ({beside})", "\n\n".join(parts))


def kernels(context: Context) -> Finding:
    """`dormer bench kernels`: every operation of the device, beside a copy."""
    sizes = ["--rows", 64, "--width", 128, "--vocabulary", 512, "--rounds", 2] if context.dry else []
    text = context.dormer("bench", "kernels", "--device", context.device, "--threads", context.threads, *sizes, "--json").stdout
    measured = json.loads(text)
    rate = lambda row: row["bytes"] / statistics.median(row["seconds"])
    copy = next(row for row in measured if row["name"].startswith("copy"))
    own = [row for row in measured if "(LibTorch)" not in row["name"] and not row["floats"]]
    if not own:
        raise StepFailed("no kernel was measured")
    rows = [[row["name"], row["numbers"], f"{statistics.median(row['seconds']) * 1e6:.1f}", f"{rate(row) / 1e9:.1f}", f"{rate(row) / rate(copy):.2f}",
             f"{row['floats'] / statistics.median(row['seconds']) / 1e12:.3f}" if row["floats"] else ""] for row in measured]
    slowest = min(own, key=rate)
    middle = statistics.median(rate(row) / rate(copy) for row in own)
    return Finding(f"{len(measured) - 3} kernels on the {context.where}: copy {rate(copy) / 1e9:.0f} GB/s, median kernel {middle:.2f} of it, slowest "
                   f"{slowest['name']} {slowest['numbers']} {rate(slowest) / 1e9:.1f} GB/s",
                   table(["kernel", "numbers", "microseconds", "GB/s", "of copy", "TFLOP/s"], rows))
