"""The examples of docs/exports.md for other languages: their syntax, and C++ against ExecuTorch's own headers."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import tree_sitter_cpp
import tree_sitter_kotlin
import tree_sitter_swift
from tree_sitter import Language, Parser

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"
GRAMMARS = {"kotlin": tree_sitter_kotlin, "cpp": tree_sitter_cpp, "swift": tree_sitter_swift}


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no example in {language}"
    return found[1]


def is_valid(language: str, code: str) -> bool:
    parser = Parser(Language(GRAMMARS[language].language()))
    return not parser.parse(code.encode()).root_node.has_error


@pytest.mark.parametrize("language", GRAMMARS)
def test_the_syntax_is_right(language):
    code = example(language)
    assert is_valid(language, code)
    assert not is_valid(language, code.replace(")", "", 1))


@pytest.mark.skipif(
    shutil.which("g++") is None or find_spec("executorch") is None, reason="needs g++ and ExecuTorch"
)
def test_the_example_in_cpp_compiles(tmp_path):
    code = example("cpp")
    head, body = code.split("\n\n", 1)
    given = "std::vector<float> pixels(3 * 512 * 512), coords(4); std::vector<int> label_values(2);"
    program = tmp_path / "example.cpp"
    program.write_text(f"#include <vector>\n{head}\nint main() {{\n{given}\n{body}\n}}\n")
    (package,) = find_spec("executorch").submodule_search_locations
    include = Path(package) / "include"
    folders = [f"-I{include}", f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
    macros = "-DC10_USING_CUSTOM_GENERATED_MACROS"  # as ExecuTorch's own build does
    words = ["g++", "-std=c++17", "-fsyntax-only", "-w", macros, *folders, str(program)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
