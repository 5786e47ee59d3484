"""cluster/Dockerfile and cluster/apptainer.def, as far as they can be tested without Docker and Apptainer: both run the same commands, which the
shell understands and whose files exist, and the sources that they copy are all that a build asks for. And cluster/runtime_packages.sh."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
DOCKERFILE = SOURCE / "cluster/Dockerfile"
DEFINITION = SOURCE / "cluster/apptainer.def"
HOME = "/opt/dormer"


def docker_stages() -> list[list[tuple[str, str]]]:
    """For every stage its instructions, each with what follows."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = []
    for line in re.sub(r" \\\n +", " ", "\n".join(lines)).splitlines():
        word, rest = line.split(" ", 1)
        if word == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((word, rest))
    return stages


def apptainer_stages() -> list[dict[str, list[str]]]:
    """For every stage its sections, by their names, and its header under ''."""
    stages: list[dict[str, list[str]]] = []
    for line in DEFINITION.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("Bootstrap:"):
            stages.append({"": []})
            section = ""
        if line.startswith("%"):
            section = line
            stages[-1][section] = []
        else:
            stages[-1][section].append(line.strip())
    return stages


def docker_commands(stage: list[tuple[str, str]]) -> list[str]:
    return [command for word, rest in stage if word == "RUN" for command in rest.split(" && ")]


def apptainer_commands(stage: dict[str, list[str]]) -> list[str]:
    first, *rest = stage["%post"]
    assert first == f"cd {HOME}"
    return rest


def docker_copies(stage: list[tuple[str, str]], source: str) -> list[tuple[str, str]]:
    """What is copied where, from the checkout ('') or from a stage; everything below HOME, the stage's working directory."""
    found = []
    for word, rest in stage:
        words = rest.split()
        stage_name = words.pop(0)[len("--from="):] if words[0].startswith("--from=") else ""
        if word == "COPY" and stage_name == source:
            found.append((words[0], f"{HOME}/{words[1]}"))
    return found


def apptainer_copies(stage: dict[str, list[str]], section: str) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in stage.get(section, [])]


def test_both_files_run_the_same_commands_in_the_same_order():
    docker = [docker_commands(stage) for stage in docker_stages()]
    apptainer = [apptainer_commands(stage) for stage in apptainer_stages()]
    assert len(docker) == 2 and all(docker)
    # Apptainer starts an image as whoever calls it, so that it needs no user of its own.
    assert [[command for command in stage if not command.startswith("useradd")] for stage in docker] == apptainer


def test_both_files_copy_the_same_things():
    docker, apptainer = docker_stages(), apptainer_stages()
    for index in range(2):
        assert docker_copies(docker[index], "") == apptainer_copies(apptainer[index], "%files")
    assert docker_copies(docker[1], "build") == apptainer_copies(apptainer[1], "%files from build") != []


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_shell_understands_every_command(shell):
    for stage in docker_stages():
        subprocess.run([shell, "-n"], input="\n".join(docker_commands(stage)), text=True, check=True)
    for stage in apptainer_stages():
        for section in ("%post", "%environment", "%test", "%runscript"):
            subprocess.run([shell, "-n"], input="\n".join(stage.get(section, [])), text=True, check=True)


def test_every_script_that_a_command_names_exists_and_is_whole():
    commands = [command for stage in docker_stages() for command in docker_commands(stage)]
    scripts = {script for command in commands for script in re.findall(r"(?<!\S)(?:launch|cluster)/\S+", command)}
    assert scripts == {"launch/setup.sh", "cluster/cuda_compiler.sh", "cluster/runtime_packages.sh"}
    for script in scripts:
        assert os.access(SOURCE / script, os.X_OK), script
        subprocess.run(["bash", "-n", SOURCE / script], check=True)


def test_options_of_the_setup_are_ones_that_it_knows():
    commands = [command for stage in docker_stages() for command in docker_commands(stage)]
    used = {option for command in commands if "launch/setup.sh" in command for option in re.findall(r"--[a-z-]+", command)}
    known = subprocess.run([SOURCE / "launch/setup.sh", "--help"], capture_output=True, text=True, check=True).stdout
    assert used == {"--no-build"} <= set(re.findall(r"^  +(--[a-z-]+)", known, re.MULTILINE))


def test_the_copied_sources_are_all_that_a_build_asks_for(tmp_path):
    build_stage = docker_stages()[0]
    for name, target in docker_copies(build_stage, ""):
        place = tmp_path / Path(target).relative_to(HOME)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(SOURCE / name, place) if (SOURCE / name).is_dir() else shutil.copy(SOURCE / name, place)
    cache = (Path(os.environ["DORMER_BUILD"]) / "CMakeCache.txt").read_text()
    cmake, ninja, torch = (re.search(rf"^{name}:\w+=(.+)$", cache, re.MULTILINE)[1] for name in ("CMAKE_COMMAND", "CMAKE_MAKE_PROGRAM", "DORMER_TORCH"))
    done = subprocess.run([cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DDORMER_TORCH={torch}", "-DDORMER_TESTS=OFF",
                           "-S", tmp_path, "-B", tmp_path / "build"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_second_stage_takes_is_what_the_first_one_leaves():
    for name, target in docker_copies(docker_stages()[1], "build"):
        assert name == target, "rpaths hold where it was built"
        place = Path(name).relative_to(HOME)
        if place.parts[-1] == "share":
            assert f"folder={place}/" in (SOURCE / "launch/setup.sh").read_text(), "the setup puts Plotly there"
        elif place.parts[0] == "build":
            assert (Path(os.environ["DORMER_BUILD"]) / place.relative_to("build/release")).is_dir(), name
        elif place.parts[0] == ".venv":
            assert place.parts[2] == "python3.11", "Debian 12 has Python 3.11"
        else:
            assert f"> {place}" in " ".join(docker_commands(docker_stages()[0])), name


def test_the_base_is_one_version_the_user_is_nobodys_root_and_nothing_is_secret():
    docker, apptainer = DOCKERFILE.read_text(), apptainer_stages()
    base = re.search(r"^ARG DEBIAN=(12\.\d+)$", docker, re.MULTILINE)[1]
    assert re.findall(r"^FROM (\S+)", docker, re.MULTILINE) == ["debian:${DEBIAN}-slim"] * 2
    assert [line for stage in apptainer for line in stage[""] if line.startswith("From:")] == [f"From: debian:{base}-slim"] * 2
    last = docker_stages()[1]
    assert [rest for word, rest in last if word == "USER"] == ["dormer"]
    assert [word for word, _ in last].index("USER") > [word for word, _ in last].index("RUN")
    assert not re.search(r"(?i)password|token|secret|api_?key|credential", docker + DEFINITION.read_text())


def test_both_are_labelled_with_this_version_and_check_that_the_program_starts():
    version = re.search(r"project\(dormer VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1]
    labels = dict(re.findall(r'([\w.]+)="([^"]+)"', next(rest for word, rest in docker_stages()[1] if word == "LABEL")))
    more = dict(line.split(" ", 1) for line in apptainer_stages()[1]["%labels"])
    for found in (labels, more):
        assert found["org.opencontainers.image.version"] == version and found["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert "dormer --version" in docker_commands(docker_stages()[1]) and "dormer --version" in apptainer_stages()[1]["%test"]


LDD = """	linux-vdso.so.1 (0x1)
	libhdf5.so.103 => /lib/x86_64-linux-gnu/libhdf5.so.103 (0x1)
	libfmt.so.9 => /usr/lib/libfmt.so.9 (0x1)
	libc10.so => /opt/dormer/.venv/lib/python3.11/site-packages/torch/lib/libc10.so (0x1)
	libcuda.so.1 => not found
"""


def test_packages_are_those_of_the_systems_libraries(tmp_path):
    build, programs = tmp_path / "build", tmp_path / "programs"
    for name in ("bin/dormer", "lib/libdormer.so"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("")
        (build / name).chmod(0o755)
    programs.mkdir()
    (programs / "ldd").write_text(f"#!/bin/sh\ncat << 'END'\n{LDD}END\n")
    # dpkg knows one by the folder that the link leads to, the other by the old one.
    (programs / "dpkg-query").write_text("#!/bin/sh\ncase $2 in /lib/*libhdf5*) echo libhdf5-103-1:amd64: $2 ;; /usr/lib/libfmt*) echo libfmt9:amd64: $2 ;; *) exit 1 ;; esac\n")
    (programs / "realpath").write_text('#!/bin/sh\necho "/usr/${1#/usr/}" | sed "s,//,/,"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    command = ["bash", SOURCE / "cluster/runtime_packages.sh", build]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "libfmt9\nlibhdf5-103-1\n"), done.stderr
    (programs / "dpkg-query").write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and done.stdout == "" and re.fullmatch(r"runtime_packages: no package has /usr/lib/\S+; .*\n", done.stderr), done.stderr
