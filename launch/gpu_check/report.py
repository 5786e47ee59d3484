"""The one report: steps with their results, then what each saw."""
from steps import FAIL, NEEDS_GPU, PASS, Outcome, table


def counts(outcomes: list[Outcome]) -> str:
    """The last line of the check."""
    number = {result: sum(outcome.result == result for outcome in outcomes) for result in (PASS, FAIL, NEEDS_GPU)}
    return f"{number[PASS]} passed, {number[FAIL]} failed, {number[NEEDS_GPU]} need a GPU"


def report(outcomes: list[Outcome], facts: list[list[str]], dry: bool) -> str:
    """Markdown. `facts` are rows of name and value."""
    title = "# dormer without a GPU (--dry)" if dry else "# dormer on a GPU"
    said = "Nothing here ran on a GPU: what would, trained and measured on the CPU.\n" if dry else ""
    parts = [title, said, table(["", ""], facts), "\n## Steps\n",
             table(["step", "result", "seconds", "what was seen", "log"],
                   [[o.name, o.result, f"{o.seconds:.1f}", o.finding.summary.replace("|", "\\|"), f"logs/{o.log}"] for o in outcomes]),
             "\n" + counts(outcomes) + "\n"]
    for outcome in outcomes:
        if outcome.finding.details:
            parts.append(f"\n## {outcome.name}\n\n{outcome.finding.details.rstrip()}\n")
    return "\n".join(part for part in parts if part) + "\n"
