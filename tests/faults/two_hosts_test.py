"""One rank on each of two hosts, which are namespaces of this machine with a network of their own: a link that is cut, for a moment or for
good, and a host whose daemon dies. The next life has the bytes of an undisturbed run. Needs root."""

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lives import PROGRAM, make_tiny, results

STEPS = 200
DEADLINE = 5  # seconds of an update without progress
LAUNCHER_PATIENCE = 20  # seconds that the watchdog gives mpirun

CONFIG = """
run: {{directory: {run}, seed: 3, steps: {steps}, threads: 1, device: cpu, watchdog: {{step: {deadline} s, io: {deadline} s}}}}
model: {{path: {folder}/model, dtype: float32}}
adapter: {{kind: lora, rank: 4, alpha: 8, decompose: {{axis: auto}}, targets: all-linear}}
data: {{train: {folder}/train.h5, validation: {folder}/validation.h5, sequence_length: 16}}
batch: {{global: 8, micro: 1}}
optimizer: {{learning_rate: 1.0e-3}}
validation: {{every: 100, samples: 8}}
checkpoint: {{every: 20}}
export: [{{for: peft}}]
"""


class Hosts:
    """Network and name spaces that each hold one process, joined by a bridge in a further one: nothing of the machine's own is touched."""

    def __init__(self, folder, count):
        self.folder, self.tag, self.processes = folder, secrets.token_hex(2), []
        self.switch = self._space("exec sleep infinity")
        self.run_in(self.switch, "ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
        self.spaces = []
        for index in range(count):
            # Open MPI names its session folder and its shared memory after the host: with names of their own the hosts share neither.
            space = self._space(f"hostname {self.name(index)}; exec sleep infinity")
            self.spaces.append(space)
            port = f"v{self.tag}{index}"
            subprocess.run(["ip", "link", "add", port, "netns", str(self.switch), "type", "veth", "peer", "name", "eth0", "netns", str(space)], check=True)
            self.run_in(self.switch, f"ip link set {port} master br0 up")
            self.run_in(space, f"ip link set lo up; ip addr add 10.77.0.{index + 1}/24 dev eth0; ip link set eth0 up")
        (folder / "hostfile").write_text("".join(f"10.77.0.{index + 1} slots=1\n" for index in range(count)))
        agent = folder / "agent"  # stands for ssh: AGENT [options] HOST command …
        pids = " ".join(str(space) for space in self.spaces)
        agent.write_text(f"""#!/bin/bash
while [[ $1 == -* ]]; do shift; done
spaces=({pids}) host=$1; shift
exec nsenter -t ${{spaces[${{host##*.}} - 1]}} -n -u -- /bin/sh -c "$*"
""")
        agent.chmod(0o755)

    def name(self, index):
        return f"host{index}-{self.tag}"

    def _space(self, command):
        """Starts a process in new spaces and waits until it is there. Returns its id."""
        ready, told = os.pipe()
        process = subprocess.Popen(
            ["unshare", "--net", "--uts", "bash", "-c", f"echo >&{told}; exec {told}>&-; {command}"], pass_fds=[told], stdin=subprocess.DEVNULL)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        self.processes.append(process)
        return process.pid

    def run_in(self, space, command):
        subprocess.run(["nsenter", "-t", str(space), "-n", "-u", "sh", "-ec", command], check=True)

    def link(self, index, state):
        self.run_in(self.spaces[index], f"ip link set eth0 {state}")

    def members(self, index):
        """The processes on a host, but for the one that holds it: id and name."""
        own = os.readlink(f"/proc/{self.spaces[index]}/ns/net")
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and int(entry.name) != self.spaces[index] and os.readlink(entry / "ns" / "net") == own:
                    found.append((int(entry.name), (entry / "comm").read_text().strip()))
            except OSError:  # it ended meanwhile
                continue
        return found

    def mpirun(self, arguments, stdout=subprocess.DEVNULL):
        """Starts one rank a host, from the first."""
        command = ["nsenter", "-t", str(self.spaces[0]), "-n", "-u", "--", "mpirun", "-np", str(len(self.spaces)), "--map-by", "node"]
        command += ["--hostfile", str(self.folder / "hostfile"), "--timeout", "100"]
        for name, value in {"plm": "rsh", "plm_rsh_agent": str(self.folder / "agent"), "oob_tcp_if_include": "eth0", "btl_tcp_if_include": "eth0",
                            "btl": "self,vader,tcp", "pml": "ob1", "mpi_yield_when_idle": "1", "hwloc_base_binding_policy": "none"}.items():
            command += ["--mca", name, value]
        environment = dict(os.environ) | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return subprocess.Popen(command + arguments, env=environment, stderr=subprocess.PIPE, stdout=stdout, text=True)

    def close(self):
        for index in range(len(self.spaces)):
            for pid, _ in self.members(index):
                os.kill(pid, signal.SIGKILL)
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def hosts(folder):
    hosts = Hosts(folder, 2)
    yield hosts
    hosts.close()


class Life:
    """One start of a run, and what happens to it once it says that it has saved step `after`."""

    def __init__(self, hosts, folder, run, after=None, disturb=None):
        config = folder / f"{run}.yaml"
        config.write_text(CONFIG.format(folder=folder, run=folder / run, steps=STEPS, deadline=DEADLINE))
        process = hosts.mpirun([PROGRAM, "train", str(config)])
        lines, begin = [], []

        def read():
            for line in process.stderr:
                lines.append(line)
                if after is not None and f"step {after}: saved" in line and not begin:
                    disturb()
                    begin.append(time.monotonic())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self.code = process.wait()
        self.seconds = time.monotonic() - begin[0] if begin else None
        reader.join(5)  # a daemon that is cut off holds the pipe open; what the others wrote is there
        self.errors = "".join(lines)


@pytest.fixture(scope="module")
def whole(hosts, folder):
    life = Life(hosts, folder, "whole")
    assert life.code == 0, life.errors
    for index in range(2):
        assert f"rank {index} of 2: host {hosts.name(index)}" in life.errors, life.errors
    return results(folder / "whole")


def test_the_benchmark_tells_how_hosts_reach_each_other(hosts):
    process = hosts.mpirun([PROGRAM, "bench", "comm", "--mebibytes", "1", "--json"], stdout=subprocess.PIPE)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["hosts"] == [hosts.name(0), hosts.name(1)]
    assert [(link["from"], link["to"]) for link in report["links"]] == [(0, 1)]
    assert report["links"][0]["bytes_per_second"] > 1e7 and set(report["collectives"]) == {"all_reduce", "reduce_scatter", "all_gather"}


def test_a_link_that_is_cut_ends_the_job_within_the_deadline(hosts, folder, whole):
    life = Life(hosts, folder, "cut", after=40, disturb=lambda: hosts.link(1, "down"))
    # Both ranks have left with 86; mpirun waits for a daemon that it cannot reach, until the rank beside it cuts what leads there.
    assert life.code == 86, life.errors
    assert life.seconds < 3 * DEADLINE + LAUNCHER_PATIENCE, life.errors
    assert not [name for index in range(2) for _, name in hosts.members(index) if name == "dormer"]
    assert "without progress" in life.errors and ("look at the network" in life.errors or "did not reach operation" in life.errors), life.errors
    reports = [json.loads(path.read_text()) for path in sorted((folder / "cut" / "hung").glob("*.json"))]
    assert [report["host"] for report in reports] == [hosts.name(0), hosts.name(1)]
    hosts.link(1, "up")
    life = Life(hosts, folder, "cut")
    assert life.code == 0, life.errors
    assert results(folder / "cut") == whole


def test_a_link_that_is_back_soon_is_no_alarm(hosts, folder, whole):
    def blink():
        hosts.link(1, "down")
        time.sleep(0.5)  # this is what is tried: a link that is away for so long
        hosts.link(1, "up")

    life = Life(hosts, folder, "blink", after=40, disturb=blink)
    assert life.code == 0, life.errors
    assert results(folder / "blink") == whole


def test_a_host_whose_daemon_dies_ends_the_job_and_the_next_life_goes_on(hosts, folder, whole):
    def kill_daemon():
        daemons = [pid for pid, name in hosts.members(1) if name == "orted"]
        assert len(daemons) == 1
        os.kill(daemons[0], signal.SIGKILL)

    life = Life(hosts, folder, "dead", after=40, disturb=kill_daemon)
    assert life.code == 205, life.errors
    life = Life(hosts, folder, "dead")
    assert life.code == 0, life.errors
    assert "going on from" in life.errors, life.errors
    assert results(folder / "dead") == whole
