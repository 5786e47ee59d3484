"""Each rule finds what it forbids: a small house with one fault at a time."""

import json
import os
import tempfile
import unittest
from pathlib import Path

import check
import rules
from headers_alone import headers_alone
from house import House

ROOMS = "core:  |  | \nstorage: core | dormer_json | \ntensor: storage |  | TORCH\ncli: tensor | | \n"
TABLE = ("| room | job | may use | third party | LibTorch |\n|---|---|---|---|---|\n"
         "| `core` | words | | | no |\n| `storage` | files | `core` | `dormer_json` | no |\n"
         "| `tensor` | bridge | `storage` | | yes |\n| `cli` | main | `tensor` | | yes |\n")
SOUND = {
    "include/dormer/core/error.hpp": "#pragma once\n#include <string>\n#include <fmt/format.h>\n",
    "include/dormer/storage/file.hpp": '#pragma once\n#include "dormer/core/error.hpp"\n',
    "src/core/error.cpp": "#include <string>\n",
    "src/storage/private.hpp": "#pragma once\n#include <vector>\n",
    "src/storage/file.cpp": '#include "dormer/storage/file.hpp"\n#include <sys/mman.h>\n#include <nlohmann/json.hpp>\n'
                            '#include "storage/private.hpp"\n',
    "src/tensor/base_weight.cpp": "#include <ATen/core/Tensor.h>\n#include <ATen/ops/mm.h>\n",
    "docs/architecture.md": TABLE,
}


class EveryRule(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source = Path(folder.name).resolve() / "source"
        self.build = Path(folder.name).resolve() / "build"
        self.build.mkdir(parents=True)
        (self.build / "rooms.txt").write_text(ROOMS)
        for path, text in SOUND.items():
            self.write(path, text)

    def write(self, path, text):
        (self.source / path).parent.mkdir(parents=True, exist_ok=True)
        (self.source / path).write_text(text)

    def house(self):
        compiler = os.environ.get("DORMER_CXX", "c++")
        commands = [{"directory": str(self.build), "file": str(self.source / path), "output": "x.o",
                     "command": f"{compiler} -std=c++20 -I{self.source}/include -o x.o -c {self.source / path}"}
                    for path in SOUND if path.endswith(".cpp")]
        (self.build / "compile_commands.json").write_text(json.dumps(commands))
        return House(self.source, self.build)

    def expect(self, rule, path, text, words):
        self.assertEqual(rule(self.house()), [])
        self.write(path, text)
        found = rule(self.house())
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_layering_finds_an_include_upward(self):
        self.expect(rules.layering, "src/core/x.cpp", '#include "dormer/storage/file.hpp"\n', "may use only nothing")

    def test_layering_finds_another_rooms_private_header(self):
        self.expect(rules.layering, "src/tensor/x.cpp", '#include "storage/private.hpp"\n', "not a header of room 'tensor'")

    def test_layering_finds_a_library_that_the_room_does_not_declare(self):
        self.expect(rules.layering, "src/tensor/x.cpp", "#include <nlohmann/json.hpp>\n", "does not declare LIBRARIES dormer_json")

    def test_layering_finds_a_library_in_a_public_header(self):
        self.expect(rules.layering, "include/dormer/storage/x.hpp", "#include <nlohmann/json.hpp>\n", "public header")

    def test_layering_finds_libtorch_below_tensor(self):
        self.expect(rules.layering, "src/storage/x.cpp", "#include <c10/util/BFloat16.h>\n", "below LibTorch")

    def test_layering_finds_libtorch_in_a_public_header(self):
        self.expect(rules.layering, "include/dormer/tensor/x.hpp", "#include <ATen/core/Tensor.h>\n", "forward-declare")

    def test_layering_finds_libtorch_in_a_source_of_the_gpu_compiler(self):
        self.expect(rules.layering, "src/tensor/x.cu", "#include <ATen/core/Tensor.h>\n", "GPU compiler")

    def test_layering_finds_an_unknown_library(self):
        self.expect(rules.layering, "src/core/x.cpp", "#include <boost/any.hpp>\n", "belongs to no library")

    def test_layering_finds_an_undeclared_room(self):
        self.expect(rules.layering, "src/attic/x.cpp", "#include <vector>\n", "no room of this name")

    def test_umbrella_headers_are_found(self):
        for header in ("torch/torch.h", "ATen/ATen.h", "torch/types.h", "torch/nn.h", "torch/nn/modules/linear.h", "ATen/Functions.h"):
            with self.subTest(header):
                self.setUp()
                self.expect(rules.umbrella_headers, "tests/tensor/x.cpp", f"#include <{header}>\n", "umbrella")

    def test_long_headers_and_sources_are_found(self):
        self.expect(rules.file_lengths, "include/dormer/core/x.hpp", "\n" * 201, "201 lines")
        self.setUp()
        self.expect(rules.file_lengths, "src/core/x.cpp", "\n" * 401, "401 lines")

    def test_names_without_a_concept_are_found(self):
        for name in ("string_utils.hpp", "helpers.cpp", "base.hpp", "adapter_base.hpp", "run-manager.cpp", "misc.cpp", "common.hpp"):
            with self.subTest(name):
                self.setUp()
                self.expect(rules.names, f"src/core/{name}", "", "name the concept")
        self.setUp()
        self.expect(rules.names, "src/core/x.hpp", "class RunManager {};\n", "RunManager")

    def test_open_ends_are_found(self):
        self.expect(rules.open_ends, "src/core/x.cpp", "// TODO: more\n", "issue")

    def test_skipped_tests_are_found(self):
        self.expect(rules.skipped_tests, "tests/core/x.cpp", 'GTEST_SKIP() << "no";\n', "register")
        self.setUp()
        self.expect(rules.skipped_tests, "tests/peers/x.py", "pytest.skip()\n", "register")

    def test_machine_paths_are_found(self):
        for path in ("/home/" + "ann/x", "/root" + "/x", "cd /work" + "/x"):
            with self.subTest(path):
                self.setUp()
                self.expect(rules.machine_paths, "launch/x.sh", path + "\n", "path of one machine")

    def test_names_that_meet_are_found(self):
        group = self.build / "src/core/together/core_standard_0.cpp"
        group.parent.mkdir(parents=True)
        group.write_text('#include "core/one.cpp"\n#include "core/two.cpp"\n')
        text = "namespace {\nconstexpr int kMost = 3;\nint %s(int x) {\n  return x;\n}\n}  // namespace\n"
        self.write("src/core/one.cpp", text.replace("kMost", "kFirst") % "halved")
        self.write("src/core/two.cpp", text % "doubled")
        house = self.house
        self.house = lambda: self.with_group(house(), group)
        self.expect(rules.names_meet, "src/core/two.cpp", text % "halved", "'halved' stands in one.cpp")

    @staticmethod
    def with_group(house, group):
        commands = json.loads((house.build / "compile_commands.json").read_text())
        (house.build / "compile_commands.json").write_text(json.dumps([*commands, {"directory": "", "file": str(group), "command": ""}]))
        return House(house.source, house.build)

    def test_forgotten_sources_are_found(self):
        self.expect(rules.sources_are_built, "src/core/x.cpp", "", "compiled by no target")

    def test_without_a_cuda_toolkit_a_named_source_is_not_forgotten(self):
        self.write("tests/device/CMakeLists.txt", "if(TARGET dormer_cuda)\n  dormer_test(device SOURCES x.cpp)\nendif()\n")
        self.write("tests/device/x.cpp", "")
        self.assertEqual(rules.sources_are_built(self.house()), [])
        self.expect(rules.sources_are_built, "tests/device/y.cpp", "", "compiled by no target")

    def test_a_wrong_architecture_page_is_found(self):
        row = "| `storage` | files | `core` | `dormer_json` | no |\n"
        for wrong, words in ((TABLE.replace(row, ""), "missing from the table"),
                             (TABLE.replace("`dormer_json`", ""), "CMake declares"),
                             (TABLE + "| `attic` | old | | | no |\n", "CMake declares none")):
            with self.subTest(words):
                self.setUp()
                self.expect(rules.architecture_page, "docs/architecture.md", wrong, words)

    def test_a_header_that_needs_another_is_found(self):
        self.write("include/dormer/core/error.hpp", "#pragma once\n#include <string>\n")
        self.expect(headers_alone, "include/dormer/storage/file.hpp", "#pragma once\nstd::vector<int> f();\n", "does not compile alone")

    def test_a_header_that_passed_is_not_believed_after_a_change_below_it(self):
        self.write("include/dormer/core/error.hpp", "#pragma once\n#include <string>\n")
        self.write("include/dormer/storage/file.hpp", '#pragma once\n#include "dormer/core/error.hpp"\nstd::string f();\n')
        self.expect(headers_alone, "include/dormer/core/error.hpp", "#pragma once\n", "file.hpp: does not compile alone")

    def test_a_refused_configuration_is_found(self):
        self.write("configs/x.yaml", "")
        self.assertEqual(check.configs_load(self.house(), "true"), [])
        self.assertIn("configs/x.yaml: exit 1", check.configs_load(self.house(), "false")[0])


if __name__ == "__main__":
    unittest.main()
