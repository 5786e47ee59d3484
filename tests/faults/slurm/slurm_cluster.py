"""A real Slurm for a test: munged, slurmctld and several slurmd on the loopback of this machine, as any user. Written for Slurm 22.05 to 24.11.

Nodes n1 and n2 have two partitions, of which `urgent` takes them away from `patient`; `steady` has nodes n3 and n4 to itself."""

import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NODES = 4
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}

# cred_expire is also how long a requeued job waits (120 s where nothing is said). SlurmdParameters lets nodes be larger than the machine,
# and linuxproc needs no cgroups. TmpFS: mpi/pmix makes folders of fixed names there, and two nodes must not meet in one. The period of
# sched_interval, and that preemption sends --signal, keep the tests short.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/state/slurmctld.pid
SlurmdPidFile={folder}/state/slurmd.%n.pid
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
TmpFS={folder}/tmp.%n
MpiDefault=pmix
ReturnToService=2
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2,bf_resolution=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=5
MinJobAge=3600
InactiveLimit=0
{nodes}
PartitionName=steady Nodes=n3,n4 Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=60 DefaultTime=5 State=UP
PartitionName=patient Nodes=n1,n2 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30 MaxTime=60 DefaultTime=5 State=UP
PartitionName=urgent Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=60 DefaultTime=5 State=UP
"""


def wait_for(what, event, seconds):
    """What `event` returns, as soon as it is something. States of Slurm and lines of logs can only be looked for; the deadline is an error."""
    deadline = time.monotonic() + seconds
    while not (found := event()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found


def end_with_parent():
    """For a child: when the test is killed, its daemons end as well."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def free_ports(count):
    """Ports below those that the kernel gives to clients."""
    ports = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports


class Cluster:
    """The nodes have so many cores each, which may be more than the machine has: jobs of these tests wait more than they compute."""

    def __init__(self, cores=16):
        self.cores = cores
        # Not below pytest's folder: munged refuses a socket that others cannot reach.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        self.daemons = []
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "LC_ALL": "C",
                            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        try:
            self._configure()
            self._start()
        except BaseException:
            self.close()
            raise

    def _configure(self):
        host = socket.gethostname().split(".")[0]
        controller_port, *ports = free_ports(NODES + 1)
        nodes = [f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cores} RealMemory=4000 State=UNKNOWN"
                 for n, port in enumerate(ports, 1)]
        for name in ("state", "log", *(f"{kind}.n{n}" for n in range(1, NODES + 1) for kind in ("spool", "tmp"))):
            (self.folder / name).mkdir()
        (self.folder / "munge").mkdir(mode=0o711)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=host, controller_port=controller_port, user=pwd.getpwuid(os.geteuid()).pw_name, folder=self.folder, nodes="\n".join(nodes)))
        # Read only where some plugin asks for cgroups.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n" if self.version() < (23,) else "CgroupPlugin=disabled\n")

    def version(self):
        text = subprocess.run(["slurmctld", "-V"], env=self.environment, check=True, capture_output=True, text=True).stdout
        return tuple(int(part) for part in text.split()[-1].split(".")[:2])

    def _spawn(self, name, *command):
        with open(self.folder / "log" / f"{name}.log", "w") as log:
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                 start_new_session=True, preexec_fn=end_with_parent))

    def _start(self):
        munge = self.folder / "munge"
        self._spawn("munged", "munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
                    f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        wait_for("munged", (munge / "socket").exists, 20)
        configuration = self.environment["SLURM_CONF"]
        self._spawn("slurmctld", "slurmctld", "-D", "-f", configuration)
        for n in range(1, NODES + 1):
            self._spawn(f"slurmd.n{n}", "slurmd", "-D", "-N", f"n{n}", "-f", configuration)
        try:
            wait_for("idle nodes", lambda: self.try_command("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").count("\n") >= NODES + 2, 40)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def try_command(self, *command):
        """What it prints; nothing where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def command(self, *command, variables=None):
        done = subprocess.run(command, env={**self.environment, **(variables or {})}, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, *arguments, variables=None):
        """The number of the new job."""
        return self.command("sbatch", "--parsable", *map(str, arguments), variables=variables)

    def job(self, number):
        """What Slurm knows of a job, by the names of scontrol."""
        line = self.try_command("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def wait_for_end(self, number, seconds):
        """The job as it ended."""
        def ended():
            job = self.job(number)
            return job if job.get("JobState") in ENDED else None
        return wait_for(f"end of job {number}", ended, seconds)

    def is_queued(self, *numbers):
        """Whether one of these jobs, or any at all, waits, runs or is just ending."""
        return bool(self.command("squeue", "--noheader", *(f"--jobs={number}" for number in numbers)))

    def logs(self):
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted((self.folder / "log").iterdir()))

    def close(self):
        """Ends all jobs and daemons, and removes the folder."""
        try:
            if len(self.daemons) > 2:
                self.try_command("scancel", "--full", "--user", pwd.getpwuid(os.geteuid()).pw_name)
                wait_for("end of all jobs", lambda: not self.is_queued(), 30)
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            self._end_orphans()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_orphans(self):
        """Steps outlive a slurmd that was killed; nothing else has this SLURM_CONF."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:  # it ended meanwhile, or is somebody else's
                continue
